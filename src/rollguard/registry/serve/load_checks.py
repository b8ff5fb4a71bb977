"""What is known of a tool's code from running it in a child process, kept for each machine beside the tools."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from rollguard.compat import place_of
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.folder.file_names import stem_of
from rollguard.sandbox import DEADLINE, ToolCheck, check_tool

logger = logger_of(__name__)

_AT_ONCE = 8  # children of one process; one that hangs holds a place until its deadline
_KEPT = 32  # checks of a tool that are kept, the newest
_INTERPRETER = f"{sys.implementation.cache_tag} {sys.version_info[:3]} {sys.prefix}"

_MODULES = (".py", ".so", ".pyd", ".pth")


class LoadChecks:
    """Checks in child processes whether code loads, each code once. You can use it from many threads.

    Results are files, one for each tool, because a process needs them while the database is away, and because what
    loads on one machine may not load on another. If they cannot be written, each process checks for itself.

    Args:
        folder: the folder of tools.
        deadline: seconds that a file has to load.
        writes: False keeps the results in memory, for a program that only reads.
        access: who may read the files.
    """

    def __init__(
        self, folder: Path, *, deadline: float = DEADLINE, writes: bool = True, access: FileAccess = FileAccess.OWNER
    ) -> None:
        self._access = access
        self._folder = folder
        self._directory = folder / ".rollguard" / "loads"
        self._deadline = deadline
        self._writes = writes
        self._found: dict[tuple[str, str], ToolCheck] = {}
        self._at_once = _places()
        self._lock = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        renew_after_fork(self, "_at_once", _places)
        renew_after_fork(self, "_lock", threading.Lock)
        renew_after_fork(self, "_locks", dict)

    def known(self, name: str, sha256: str) -> ToolCheck | None:
        """Return what is known of code without running it; None if it was not checked on this machine."""
        found = self._found.get((name, sha256))
        if found is None:
            found = self._read(name).get(sha256)
            if found is not None:
                self._found[name, sha256] = found
        return found

    def of(self, name: str, code: bytes, sha256: str) -> ToolCheck:
        """Return whether code loads; run it in a child process if that is not known.

        Raises:
            ChildNotStarted: the system starts no process.
        """
        key = (name, sha256)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            found = self.known(name, sha256)
            if found is None:
                with self._at_once:
                    found = self._checked(name, code)
                self.keep(name, sha256, found)
        with self._lock:
            self._locks.pop(key, None)
        return found

    def _checked(self, name: str, code: bytes) -> ToolCheck:
        try:
            place = place_of(code, name)
        except ValueError as error:
            return ToolCheck(loads=False, error=f"cannot be loaded: {error}")
        path = self._folder / f"{stem_of(place.unit)}{'' if place.files else '.py'}"
        return check_tool(place.exported, place.files or code, path, deadline=self._deadline)

    def keep(self, name: str, sha256: str, check: ToolCheck) -> None:
        """Keep what is known of code, for every process of this machine."""
        self._found[name, sha256] = check
        self._change(name, sha256, check)

    def forget_failures(self) -> None:
        """Check code that did not load again at its next use, because what it needs may be there now."""
        for (name, sha256), found in list(self._found.items()):
            if not found.loads:
                del self._found[name, sha256]
                self._change(name, sha256, None)

    # --- the files -------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, ToolCheck]:
        try:
            with (self._directory / f"{stem_of(name)}.json").open("rb") as file:
                kept = json.loads(file.read())
            if kept["interpreter"] != _INTERPRETER:
                return {}
            now = _environment() if any(not each["loads"] for each in kept["checks"].values()) else ""
            return {
                sha256: ToolCheck(each["loads"] is True, each["error"], each["definition"])
                for sha256, each in kept["checks"].items()
                if each["loads"] is True or each["environment"] == now
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            logger.warning("what is known of %s on this machine cannot be read, so it is checked anew: %s", name, error)
            return {}

    def _change(self, name: str, sha256: str, check: ToolCheck | None) -> None:
        if not self._writes:
            return
        checks = self._read(name)
        checks.pop(sha256, None)
        if check is not None:
            checks[sha256] = check
        environment = _environment()
        newest = {
            sha256: {**asdict(each), "environment": None if each.loads else environment}
            for sha256, each in list(checks.items())[-_KEPT:]
        }
        try:
            content = json.dumps({"interpreter": _INTERPRETER, "checks": newest})
            self._access.make_folder(self._directory.parent)
            self._access.write_whole(self._directory / f"{stem_of(name)}.json", content.encode())
        except OSError as error:
            logger.debug("what is known of %s cannot be written, so only this process knows it: %s", name, error)


def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(_AT_ONCE)


def _environment() -> str:
    """Return a fingerprint of what can be imported: it changes when a package or module is added, edited or removed."""
    state = [(str(entry), _importable(entry)) for entry in sys.path]
    return hashlib.sha256(repr(state).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _importable(entry: str) -> list[tuple[str, int]]:
    """Return the modules of a folder with their times, and its packages; other files in it come and go."""
    try:
        with os.scandir(entry or os.curdir) as found:
            return sorted(
                (each.name, 0 if each.is_dir() else each.stat().st_mtime_ns)
                for each in found
                if each.name.endswith(_MODULES)
                or (each.is_dir() and each.name[0] != "." and each.name != "__pycache__")
            )
    except NotADirectoryError:
        return [(entry, os.stat(entry).st_mtime_ns)]  # noqa: PTH116 - an archive
    except (OSError, ValueError, TypeError):
        return []
