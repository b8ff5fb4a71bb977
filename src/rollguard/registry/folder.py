"""The folder of tools on disk: which files are tools, and swapping one of them so that nobody sees half of it."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rollguard.errors import InvalidToolName, ToolFileError

MAX_NAME = 100
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_TEMPORARY = ".rollguard-"  # a dot in front: no tool, and hidden from listings


def checked_file_name(name: object) -> str:
    """The tool's name, if a file of the folder may bear it.

    Raises:
        InvalidToolName: it may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidToolName(
            f"{name!r} cannot name a tool's file; use a letter first, then letters, digits, '_' and '-'"
        )
    if len(name) > MAX_NAME:
        raise InvalidToolName(f"a tool's name of {len(name)} characters is too long; at most {MAX_NAME}")
    return name


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes whenever a file is swapped or edited, read in one cheap call."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Folder:
    """A folder with one Python file for each tool.

    Args:
        path: the folder; made if it is not there.

    Raises:
        ToolFileError: it cannot be made, or something else is in its place.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ToolFileError(f"{self.path} cannot be used as the folder of tools: {error}") from error

    def file(self, name: str) -> Path:
        """Where the tool's file is, or would be."""
        return self.path / f"{checked_file_name(name)}.py"

    def names(self) -> list[str]:
        """Tools that have a file. Files that begin with '_' or '.' are none."""
        with self._reading(self.path):
            return sorted(
                entry.name[:-3]
                for entry in self.path.iterdir()
                if entry.suffix == ".py" and _NAME.fullmatch(entry.stem)
            )

    def stamp(self, name: str) -> FileStamp | None:
        """The file's stamp; None when there is no file."""
        try:
            found = os.stat(self.path / f"{name}.py")  # noqa: PTH116 - in the path of every call: half the time of Path
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ToolFileError(f"{self.file(name)} cannot be read: {error}") from error
        return FileStamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None when there is no file."""
        path = self.file(name)
        with self._reading(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def swap(self, name: str, code: bytes) -> None:
        """Put `code` in the tool's place, whole or not at all, so that it survives a power loss.

        Mode and owner of the file that is replaced are kept.

        Raises:
            ToolFileError: it cannot be written; the file is as it was.
        """
        path = self.file(name)
        temporary: str | None = None
        try:
            before = _status(path)
            descriptor, temporary = tempfile.mkstemp(prefix=f"{_TEMPORARY}{name}-", dir=self.path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(code)
                os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode) if before else 0o644)
                if before and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
            temporary = None
            self._sync()
            self._forget_bytecode(name)
        except OSError as error:
            raise ToolFileError(f"{path} cannot be written: {error.strerror or error}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()

    def remove_leftovers(self) -> list[str]:
        """Remove temporary files of swaps that a crash cut short; their names are returned."""
        removed = []
        with self._reading(self.path):
            for entry in self.path.glob(f"{_TEMPORARY}*"):
                entry.unlink(missing_ok=True)
                removed.append(entry.name)
        return removed

    def _sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _forget_bytecode(self, name: str) -> None:
        """We never read it, but another program that imports the folder would trust one of the same second and size."""
        for stale in (self.path / "__pycache__").glob(f"{name}.*.pyc"):
            stale.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error


def _status(path: Path) -> os.stat_result | None:
    """The status of the file to be replaced; a folder or a device in its place is an error, not a file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise IsADirectoryError(None, "something that is not a file is in its place")
    return found
