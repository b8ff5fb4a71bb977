"""Import what a setting names by `package.module:name`. An error shows neither values nor the texts of other errors."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from rollguard.errors import InvalidSetting, unchained


def imported(key: str, path: str, folder: Path) -> Any:
    """Return the object that an import path names. Modules in the folder can be imported too, after all others.

    Raises:
        InvalidSetting: there is no such module or name, or importing it fails; the message names `key`.
    """
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    module_name, _, name = path.partition(":")
    problem = ""
    found: Any = None
    try:
        found = importlib.import_module(module_name)
        for part in name.split("."):
            problem = f"{path}: {getattr(found, '__name__', module_name)} has no {part}"
            found = getattr(found, part)
    except AttributeError as error:
        if not problem:
            problem = _failed(module_name, error)
    except ModuleNotFoundError as error:
        problem = _failed(module_name, error)
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            problem = f"{path}: there is no module {error.name}, neither installed nor in {folder}"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module
        problem = _failed(module_name, error)
    else:
        return found
    return unchained(InvalidSetting(key, problem))


def called(key: str, path: str, factory: Any) -> Any:
    """Return what a class or function that was imported returns.

    Raises:
        InvalidSetting: it cannot be called without arguments, or fails; the message names `key`.
    """
    try:
        return factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        kind = type(error).__name__
    return unchained(InvalidSetting(key, f"{path}() failed with {kind}; it is called without arguments"))


def _failed(module_name: str, error: BaseException) -> str:
    shown = f'python -c "import {module_name}"'
    return f"importing {module_name} failed with {type(error).__name__}; see why with: {shown}"
