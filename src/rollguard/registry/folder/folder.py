"""The folder of tools on disk: find the tools' files, and swap them atomically."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from rollguard.errors import ToolFileError
from rollguard.model.file_access import FileAccess, umask
from rollguard.model.log import logger_of
from rollguard.registry.folder.file_names import checked_file_name, name_of, stem_of

logger = logger_of(__name__)

_TEMPORARY = ".rollguard-"  # begins with a dot: not a tool, and hidden from listings


class FileStamp(NamedTuple):
    """The parts of a file's status that change with each swap or edit, read in one cheap call."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Folder:
    """A folder with one Python file for each tool.

    Args:
        path: the folder; created if it does not exist.
        access: who may read the files of Rollguard's own in it. Tools' files are the user's: a replaced file keeps its
            mode, and a new one has that of the umask.

    Raises:
        ToolFileError: it cannot be created, or something else is in its place.

    Attributes:
        latest_swap: a new object after each swap of this process, in any folder.
    """

    latest_swap: ClassVar[object] = object()

    def __init__(self, path: str | os.PathLike[str], *, access: FileAccess = FileAccess.OWNER) -> None:
        self.path = Path(path).absolute()
        self.access = access
        self._ignores_case: bool | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ToolFileError(f"{str(self.path)!r} cannot be used as the folder of tools: {error}") from error

    def file(self, name: str) -> Path:
        """Return the path of the tool's file, even if it does not exist."""
        return self.path / f"{stem_of(checked_file_name(name))}.py"

    def names(self) -> list[str]:
        """Return the tools that have a file. Files that begin with '_' or '.' are not tools."""
        return sorted(name for stem in self._stems() if (name := name_of(stem)) is not None)

    def misnamed(self) -> list[str]:
        """Return the names of Python files, without `.py`, that no tool's file is named like."""
        return [stem for stem in self._stems() if name_of(stem) is None]

    def stamps(self) -> dict[str, FileStamp]:
        """Return the stamps of all tools' files. What is no file is left out."""
        found = {}
        for name in self.names():
            with contextlib.suppress(ToolFileError):
                stamp = self.stamp(name)
                if stamp is not None:
                    found[name] = stamp
        return found

    def stamp(self, name: str) -> FileStamp | None:
        """Return the file's stamp; None without a file.

        Raises:
            ToolFileError: it is not a file, or cannot be read.
        """
        stem = stem_of(name)
        path = f"{self.path}{os.sep}{stem}.py"
        try:
            found = os.stat(path)  # noqa: PTH116 - every call runs this; it takes half the time of Path
        except FileNotFoundError:
            if os.path.islink(path):  # noqa: PTH114
                raise ToolFileError(f"{path} is a link to a file that is not there") from None
            return None
        except OSError as error:
            raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error
        if self._is_of_another_case(stem, found):
            return None
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for its writer
            raise ToolFileError(f"{path} is not a file")
        return FileStamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def read(self, name: str) -> bytes | None:
        """Return the file's bytes; None without a file.

        Raises:
            ToolFileError: it is not a file, or cannot be read.
        """
        path = self.file(name)
        if self.stamp(name) is None:
            return None
        with self._reading(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def swap(self, name: str, code: bytes) -> None:
        """Replace the tool's file by `code`, atomically, so that it survives a power loss.

        The new file has the mode and owner of the old one; without one, the mode that the umask leaves.

        Raises:
            ToolFileError: it cannot be written; the file is unchanged.
        """
        path = self.file(name)
        try:
            before = _status(path)
            if before is not None and self._is_of_another_case(path.stem, before):
                raise FileExistsError(None, "a tool whose name differs only by case has it, and this disk ignores case")
            # Opened before any change: an unreadable folder could not be synced afterwards.
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with self._temporary(name) as (descriptor, temporary):
                    with open(descriptor, "wb", closefd=False) as file:
                        file.write(code)
                    _keep_mode_and_owner(descriptor, before, path)
                    os.fsync(descriptor)
                    temporary.replace(path)
                    Folder.latest_swap = object()  # after the swap: a reader of this value finds the new file
                self._settle(folder, name)
            finally:
                os.close(folder)
        except OSError as error:
            raise ToolFileError(f"{path} cannot be written: {error.strerror or error}") from error

    def remove(self, name: str) -> None:
        """Remove the tool's file, if there is one.

        Raises:
            ToolFileError: it cannot be removed.
        """
        path = self.file(name)
        try:
            if self.stamp(name) is not None:
                path.unlink(missing_ok=True)
            Folder.latest_swap = object()
        except OSError as error:
            raise ToolFileError(f"{path} cannot be removed: {error.strerror or error}") from error

    def remove_leftovers(self) -> list[str]:
        """Remove temporary files of interrupted swaps, and return their names.

        Files of swaps under way in other processes are locked, and stay.
        """
        removed = []
        with contextlib.suppress(OSError):  # earlier versions of Rollguard used it to announce swaps
            (self.path / ".rollguard.generation").unlink()
        with self._reading(self.path):
            for entry in self.path.glob(f"{_TEMPORARY}*"):
                with contextlib.suppress(OSError), entry.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    entry.unlink()
                    removed.append(entry.name)
        return removed

    @contextlib.contextmanager
    def _temporary(self, name: str) -> Iterator[tuple[int, Path]]:
        """Yield a locked temporary file in the folder; remove it at the end, unless it was renamed."""
        while True:
            descriptor, path = tempfile.mkstemp(prefix=f"{_TEMPORARY}{stem_of(name)}-", dir=self.path)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:  # otherwise another process removed it as a leftover before it was locked
                break
            os.close(descriptor)
        try:
            yield descriptor, Path(path)
        finally:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                Path(path).unlink()

    def _settle(self, folder: int, name: str) -> None:
        """Make a swap survive a power loss. The swap has happened, so this function raises nothing."""
        try:
            os.fsync(folder)
            # Rollguard never reads bytecode. Another importer of the folder would trust a file of the same second.
            for stale in (self.path / "__pycache__").glob(f"{stem_of(name)}.*.pyc"):
                stale.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s was swapped, but not all was tidied up after it: %s", self.file(name), error)

    def _is_of_another_case(self, stem: str, found: os.stat_result) -> bool:
        """Return whether a file was found only because the disk ignores case, as those of macOS do by default."""
        if self._ignores_case is None and stem.swapcase() != stem:
            try:
                other = os.stat(f"{self.path}{os.sep}{stem.swapcase()}.py")  # noqa: PTH116
                self._ignores_case = os.path.samestat(found, other)
            except OSError:
                self._ignores_case = False
        return bool(self._ignores_case) and f"{stem}.py" not in os.listdir(self.path)  # noqa: PTH208

    def _stems(self) -> list[str]:
        with self._reading(self.path):
            entries = (entry for entry in self.path.iterdir() if entry.suffix == ".py")
            return sorted(entry.stem for entry in entries if not entry.name.startswith(("_", ".")))

    @contextlib.contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error


def _keep_mode_and_owner(descriptor: int, before: os.stat_result | None, path: Path) -> None:
    mode = stat.S_IMODE(before.st_mode) if before else 0o666 & ~umask()
    if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except PermissionError:  # restoring the version is more important than the file's owner
            logger.warning("%s is ours now: only root could have left it to user %d", path, before.st_uid)
            mode &= 0o777  # setuid bits must not apply to another owner
    os.fchmod(descriptor, mode)  # last: a change of the owner clears bits of the mode


def _status(path: Path) -> os.stat_result | None:
    """Return the status of the file to replace; raise an error if it is a folder or a device."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise IsADirectoryError(None, "something that is not a file is in its place")
    return found
