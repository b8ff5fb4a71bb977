"""`rollguard init`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import output
from rollguard.cli.options import Config, Json
from rollguard.errors import RollguardError
from rollguard.model.file_access import FileAccess

if TYPE_CHECKING:
    from rollguard.cli.folder_files import FolderFile


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to begin.", show_default=False)] = Path(),
    config: Config = None,  # noqa: ARG001 - taken by every command
    as_json: Json = False,
) -> None:
    """Write rollguard.toml and tools/ with an example tool, and list what else is in tools/. Nothing is overwritten."""
    from rollguard.cli import scaffold

    files = {
        folder / "rollguard.toml": scaffold.SETTINGS,
        folder / "tools" / f"{scaffold.EXAMPLE_NAME}.py": scaffold.EXAMPLE,
    }
    written: list[Path] = []
    kept: list[Path] = []
    for file, content in files.items():
        access = FileAccess.OWNER if content is scaffold.SETTINGS else FileAccess.UMASK  # settings may hold secrets
        (written if _write_new(file, content, access) else kept).append(file)
    others = _others(folder / "tools")
    here = folder.absolute() == Path.cwd()
    commands = [
        *([] if here else [f"cd {shlex.quote(str(folder))}"]),
        "rollguard tools",
        f"rollguard call {scaffold.EXAMPLE_NAME} expression='(2 + 3) * 4'",
        f"rollguard deploy {Path('tools', scaffold.EXAMPLE_NAME)}.py    # after you changed it",
        "rollguard watch",
    ]
    if as_json:
        output.emit_json(
            {"folder": folder.absolute(), "written": written, "kept": kept, "others": others, "next": commands}
        )
        return
    lines = [f"wrote {file}" for file in written]
    lines += [f"kept  {file}, which was there already" for file in kept]
    if others:
        lines += ["", "Else in tools/:", *(f"  {file.file}: {file.says or file.kind}" for file in others)]
    lines += ["", "Next, try:", *(f"  {command}" for command in commands)]
    output.lines(*lines)


def _others(tools: Path) -> list[FolderFile]:
    """Return what there is in the folder of tools besides the example."""
    from rollguard.cli import scaffold
    from rollguard.cli.folder_files import files_of
    from rollguard.registry import Folder

    return [file for file in files_of(Folder(tools)) if file.name != scaffold.EXAMPLE_NAME]


def _write_new(file: Path, content: str, access: FileAccess) -> bool:
    """Write the file if nothing is in its place; whether it was written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(access.create(file, os.O_WRONLY), "w", encoding="utf-8") as new:
            new.write(content)
    except FileExistsError as error:
        if os.path.lexists(file):
            return False
        raise RollguardError(f"{file.parent} is not a folder; give another folder") from error
    except OSError as error:
        raise RollguardError(f"{file} cannot be written: {error.strerror}; give another folder") from error
    return True
