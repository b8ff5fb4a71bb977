"""A note in the folder for each swap under way: by it a swap that was cut short is told from an edit by hand."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from rollguard.errors import ToolFileError

_PREFIX = ".rollguard.swap."  # a dot in front: no tool, and hidden from listings


@dataclass(frozen=True, slots=True)
class SwapNote:
    """What a swap is about to do. Its file stays until it is known whether the books say the same.

    Attributes:
        tool_name: the tool.
        before: SHA-256 of what its file held; None where there was no file.
        after: SHA-256 of what it is to hold; None where the note itself was cut short, so that nothing was swapped.
        path: the note's own file.
    """

    tool_name: str
    before: str | None
    after: str | None
    path: Path

    def remove(self) -> None:
        """Remove it: file and books agree. Where that fails it is removed by whoever settles next."""
        with contextlib.suppress(OSError):
            self.path.unlink()


def write_note(folder: Path, tool_name: str, *, before: str | None, after: str) -> SwapNote:
    """Write a note that survives a power loss, before anything is swapped.

    Raises:
        ToolFileError: it cannot be written.
    """
    note = SwapNote(tool_name, before, after, folder / f"{_PREFIX}{tool_name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(note.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, json.dumps({"before": before, "after": after}).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync(folder)
    except OSError as error:
        note.remove()
        raise ToolFileError(f"{folder} cannot be written: {error.strerror or error}") from error
    return note


def notes_in(folder: Path, tool_name: str | None = None) -> list[SwapNote]:
    """The notes of swaps under way, and of those that were cut short, the oldest first.

    Raises:
        ToolFileError: the folder or a note cannot be read.
    """
    found = []
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]
        for path in paths:
            name = path.name.removeprefix(_PREFIX).partition(".")[0]
            if tool_name in (None, name):
                with contextlib.suppress(FileNotFoundError):  # the swap was finished at this moment
                    found.append((path.stat().st_mtime_ns, _read(path, name)))
    except OSError as error:
        raise ToolFileError(f"{folder} cannot be read: {error.strerror or error}") from error
    return [note for _, note in sorted(found, key=lambda each: each[0])]


def _read(path: Path, tool_name: str) -> SwapNote:
    try:
        values = json.loads(path.read_bytes())
        return SwapNote(tool_name, values["before"], values["after"], path)
    except (ValueError, KeyError, TypeError):
        return SwapNote(tool_name, None, None, path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
