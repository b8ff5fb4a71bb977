"""Read scenarios from files: your own, or those that come with Rollguard."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from rollguard.errors import InvalidInput

if TYPE_CHECKING:
    from rollguard.evaluate.scenario import Scenario


def ready_made() -> dict[str, Scenario]:
    """Return the scenarios that come with Rollguard, by name."""
    from rollguard.evaluate.scenario import Scenario

    folder = files("rollguard") / "scenarios"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): Scenario.from_mapping(tomllib.loads((folder / name).read_text("utf-8")), name)
        for name in names
    }


def scenario_of(file_or_name: str) -> tuple[str, Scenario]:
    """Return the name and the scenario of a file, or of a scenario that comes with Rollguard.

    Raises:
        InvalidInput: it cannot be read, or is not a scenario.
    """
    from rollguard.evaluate.scenario import Scenario

    file = Path(file_or_name)
    if file.suffix != ".toml" and not file.exists():
        known = ready_made()
        if file_or_name not in known:
            raise InvalidInput(f"{file_or_name}: no such scenario; give a file, or one of {', '.join(known)}")
        return file_or_name, known[file_or_name]
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{file_or_name} cannot be read: {error.strerror}; give a file of TOML") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file_or_name} is not valid TOML: {error}") from error
    return file.stem, Scenario.from_mapping(values, file_or_name)
