"""Write the pages of the reference that are made from the program; `make docs` does it before it builds the site."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rollguard.cli.app import PANELS, command
from rollguard.judge import Rules
from rollguard.settings import Settings
from rollguard.settings.settings import _SECTIONS, _TOP

FOLDER = Path(__file__).parent / "reference"
_MADE = "<!-- Written by `make docs`; change the program, not this page. -->\n"


def commands() -> str:
    """Return the page of the commands: each with its arguments and options, as `--help` has them."""
    parts = [
        "# Commands\n",
        _MADE,
        "Each command as `--help` explains it. How they work together: [the command line](../cli.md).\n",
    ]
    for panel, names in PANELS.items():
        parts.append(f"## {panel}\n")
        for where in names:
            name = where.partition(":")[0]
            parts += _command(f"rollguard {name}", command(name))
    return "\n".join(parts)


def _command(title: str, one: Any) -> Iterator[str]:
    yield f"### {title}\n"
    yield _plain(one.help or "") + "\n"
    if hasattr(one, "commands"):
        for name, part in one.commands.items():
            yield from _command(f"{title} {name}", part)
        return
    rows = [_parameter(each) for each in one.params if not getattr(each, "hidden", False)]
    if rows:
        yield "| | | default |\n|---|---|---|"
        yield "\n".join(f"| {name} | {says} | {default} |" for name, says, default in rows) + "\n"


def _parameter(one: Any) -> tuple[str, str, str]:
    if one.param_type_name == "argument":
        name = one.metavar or one.name.upper()
    else:
        takes = f" {one.metavar}" if one.metavar else ""
        name = f"{', '.join((*one.opts, *one.secondary_opts))}{takes}"
    default = one.default
    shown = "" if callable(default) or default is None or default is False or one.required else f"`{_value(default)}`"
    return f"`{_cell(name)}`", _cell(_plain(getattr(one, "help", None) or "")), shown


def settings() -> str:
    """Return the page of all settings: each key with its type, its default and its variable of the environment."""
    parts = [
        "# All settings\n",
        _MADE,
        "Every key of `rollguard.toml`, and the variable that overrides it. "
        "What each is for: [settings](../settings.md).\n",
    ]
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    rows = [(name, fields[name]) for name in _TOP if name in fields]
    parts += _table(
        "At the top", [(name, _type(field.type), field.default, f"ROLLGUARD_{name.upper()}") for name, field in rows]
    )
    rules = dataclasses.fields(Rules)
    parts += _table(
        "[monitor]", [(one.name, _type(one.type), one.default, _variable("monitor", one.name)) for one in rules]
    )
    for section, model in _SECTIONS.items():
        if section == "improve":
            continue  # a list of tables
        given = [
            (name, _type(one.annotation), _default(one), _variable(section, name))
            for name, one in model.model_fields.items()
        ]
        parts += _table(f"[{section}]", given)
    return "\n".join(parts)


def _table(title: str, rows: list[tuple[str, str, Any, str]]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| key | type | default | variable |\n|---|---|---|---|"
    yield (
        "\n".join(
            f"| `{key}` | {_cell(kind)} | `{_cell(_value(value))}` | `{variable}` |"
            for key, kind, value, variable in rows
        )
        + "\n"
    )


def _variable(section: str, name: str) -> str:
    return f"ROLLGUARD_{section.upper()}__{name.upper()}"


def _default(one: Any) -> Any:
    return one.default if one.default is not PydanticUndefined else one.default_factory()


def _value(value: Any) -> str:
    if value is dataclasses.MISSING or value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    if isinstance(value, BaseModel):
        return "{…}"
    return str(value)


def _type(annotation: Any) -> str:
    words = str(annotation)
    for before, after in (("Annotated[", ""), ("typing.", ""), ("<class '", ""), ("'>", "")):
        words = words.replace(before, after)
    for kind, name in (
        ("Literal", "one of a few words"),
        ("FileAccess", "one of a few words"),
        ("Isolation", "one of a few words"),
        ("_Shares", "a list"),
        ("_ErrorTypes", "a list"),
        ("Path", "a path"),
        ("bool", "true or false"),
        ("tuple", "a list"),
        ("float", "a number"),
        ("int", "a whole number"),
        ("str", "text"),
    ):
        if kind in words:
            return name
    return words.rpartition(".")[2].strip("]")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


PAGES = {"commands.md": commands, "settings.md": settings}


def main() -> int:
    """Write them."""
    for name, text in PAGES.items():
        (FOLDER / name).write_text(text(), "utf-8")
        print(FOLDER / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
