"""The folder of tools on disk: find the tools' files and packages, and swap them atomically."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from rollguard.errors import ToolFileError
from rollguard.model.file_access import FileAccess, umask
from rollguard.model.log import logger_of
from rollguard.registry.folder import tree
from rollguard.registry.folder.file_names import checked_file_name, name_of, stem_of
from rollguard.registry.folder.tree import FileStamp

logger = logger_of(__name__)

_TEMPORARY = ".rollguard-"  # begins with a dot: not a tool, and hidden from listings

__all__ = ["FileStamp", "Folder"]


class Folder:
    """A folder with a Python file, or a package, for each tool, or for several (see `compat.place`).

    What is said of a tool's file holds for its package, whose bytes are its files as one text.

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
        self._several: dict[str, tuple[FileStamp, tuple[str, ...]]] = {}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise ToolFileError(f"{str(self.path)!r} cannot be used as the folder of tools: {error}") from error

    def file(self, name: str) -> Path:
        """Return the path of the tool's file or package, even if it does not exist."""
        own = self._own_path(checked_file_name(name)) or self._path_of_several(name)
        return self.path / (own or f"{stem_of(name)}.py")

    def is_package(self, name: str) -> bool:
        """Return whether the tool is in a package."""
        return self.file(name).suffix != ".py"

    def unit(self, name: str) -> str:
        """Return the name of the file or package that the tool is in: its own, or one that holds several tools."""
        return name if self._own_path(name) or not self._path_of_several(name) else name.rpartition("/")[0]

    def names(self) -> list[str]:
        """Return the tools that have a file. Files that begin with '_' or '.' are not tools."""
        units = (name for stem in self._stems() if (name := name_of(stem)) is not None)
        return sorted({name for unit in units for name in self.tools_of(unit) if name == unit or _has_file_name(name)})

    def tools_of(self, unit: str) -> tuple[str, ...]:
        """Return the tools that a file or package holds; its own name, if that cannot be read."""
        own = self._own_path(unit)
        if own is None:
            return ()
        path, began = self._path_of(own), time.time_ns()
        try:
            stamp = self._stamp(path)
            known = self._several.get(own)
            if known is not None and known[0] == stamp:
                return known[1]
            code = self._read(path)
        except ToolFileError:
            return (unit,)
        found: tuple[str, ...] = (unit,)
        if code is not None and may_hold_several(path, code):
            from rollguard.compat import tools_in  # a command that only lists does not wait for it

            found = tools_in(code, unit)
        if stamp is not None and stamp.settled(began):
            self._several[own] = stamp, found
        return found

    def misnamed(self) -> list[str]:
        """Return the names of files and packages, without `.py`, that no tool's file is named like."""
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
        """Return the stamp of the tool's file; None without one.

        Raises:
            ToolFileError: it is not a file, or cannot be read.
        """
        stem = stem_of(name if isinstance(name, str) else checked_file_name(name))
        found = self._stamp(f"{self.path}{os.sep}{stem}.py", stem)
        if found is None and not self._is_there(f"{stem}.py"):
            path = self.file(name)
            found = None if path.name == f"{stem}.py" else self._stamp(path)
        return found

    def read(self, name: str) -> bytes | None:
        """Return the bytes of the tool's file; None without one.

        Raises:
            ToolFileError: it is not a file, or cannot be read.
        """
        if self.stamp(name) is None:
            return None
        own = self._own_path(name)
        return self._read(self.file(name) if own is None else self._path_of(own))

    def _stamp(self, path: str | Path, stem: str = "") -> FileStamp | None:
        try:
            found = os.stat(path)  # noqa: PTH116 - every call runs this; it takes half the time of Path
        except FileNotFoundError:
            if os.path.islink(path):  # noqa: PTH114
                raise ToolFileError(f"{path} is a link to a file that is not there") from None
            return None
        except OSError as error:
            raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error
        if stem and self._is_of_another_case(stem, found):
            return None
        if isinstance(path, Path) and stat.S_ISDIR(found.st_mode) and path.suffix != ".py":
            try:
                return tree.stamp_of(path)
            except FileNotFoundError:  # it is being replaced at this moment
                return None
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for its writer
            raise ToolFileError(f"{path} is not a file")
        return FileStamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self, path: str | Path) -> bytes | None:
        with self._reading(path):
            try:
                if _is_one_file(path):
                    with open(path, "rb") as file:  # noqa: PTH123 - as in `_path_of`
                        return file.read()
                from rollguard.compat import pack

                return pack(tree.read(Path(path)))
            except FileNotFoundError:
                return None

    # --- where a tool is -------------------------------------------------------------------------------------------

    def _is_there(self, name: str) -> bool:
        return os.path.lexists(f"{self.path}{os.sep}{name}")

    def _path_of(self, entry: str) -> str | Path:
        """Return the path of an entry of the folder: a text for a file, as a `Path` takes several times as long."""
        return f"{self.path}{os.sep}{entry}" if _is_one_file(entry) else self.path / entry

    def _own_path(self, name: str) -> str | None:
        """Return the name of the tool's own file or package; None without one."""
        stem = stem_of(name)
        if self._is_there(f"{stem}.py"):
            return f"{stem}.py"
        return stem if tree.is_tree(f"{self.path}{os.sep}{stem}") else None

    def _path_of_several(self, name: str) -> str | None:
        """Return the name of the file or package that holds the tool among others; None without one."""
        parent = name.rpartition("/")[0]
        if parent and name_of(stem_of(parent)) is not None and name in self.tools_of(parent):
            return self._own_path(parent)
        return None

    # --- changing --------------------------------------------------------------------------------------------------

    def swap(self, name: str, code: bytes) -> None:
        """Replace the file or the package that `code` has the tool in, atomically, so that it survives a power loss.

        The new file has the mode and owner of the old one; without one, the mode that the umask leaves.

        Raises:
            ToolFileError: it cannot be written; the file is unchanged.
        """
        from rollguard.compat import is_package, unpack

        path = self.path
        try:
            stem = stem_of(unit_in(code, name))
            path = self.path / (stem if is_package(code) else f"{stem}.py")
            other = self.path / (f"{stem}.py" if is_package(code) else stem)
            # Opened before any change: an unreadable folder could not be synced afterwards.
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if is_package(code):
                    tree.swap(path, unpack(code), f"{_TEMPORARY}{stem}-", _keep_mode_and_owner)
                else:
                    self._swap_file(path, code)
                if other.suffix == ".py":
                    other.unlink(missing_ok=True)
                elif tree.is_tree(other):
                    tree.remove(other)
                Folder.latest_swap = object()  # after the swap: a reader of this value finds the new file
                self._settle(folder, path)
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ToolFileError(f"{path} cannot be written: {reason}") from error

    def _swap_file(self, path: Path, code: bytes) -> None:
        before = _status(path)
        if before is not None and self._is_of_another_case(path.stem, before):
            raise FileExistsError(None, "a tool whose name differs only by case has it, and this disk ignores case")
        with self._temporary(path.stem) as (descriptor, temporary):
            with open(descriptor, "wb", closefd=False) as file:
                file.write(code)
            _keep_mode_and_owner(descriptor, before, path)
            os.fsync(descriptor)
            temporary.replace(path)

    def remove(self, name: str) -> None:
        """Remove the tool's file or package, if there is one, with all tools in it.

        Raises:
            ToolFileError: it cannot be removed.
        """
        path = self.file(name)
        try:
            if self.stamp(name) is not None:
                if path.suffix == ".py":
                    path.unlink(missing_ok=True)
                else:
                    tree.remove(path)
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
                if entry.is_dir():
                    with contextlib.suppress(OSError):
                        tree.remove_leftover(entry)
                        removed.append(entry.name)
                    continue
                with contextlib.suppress(OSError), entry.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    entry.unlink()
                    removed.append(entry.name)
        return removed

    @contextlib.contextmanager
    def _temporary(self, stem: str) -> Iterator[tuple[int, Path]]:
        """Yield a locked temporary file in the folder; remove it at the end, unless it was renamed."""
        while True:
            descriptor, path = tempfile.mkstemp(prefix=f"{_TEMPORARY}{stem}-", dir=self.path)
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

    def _settle(self, folder: int, path: Path) -> None:
        """Make a swap survive a power loss. The swap has happened, so this function raises nothing."""
        try:
            os.fsync(folder)
            # Rollguard never reads bytecode. Another importer of the folder would trust a file of the same second.
            for stale in (self.path / "__pycache__").glob(f"{path.stem}.*.pyc"):
                stale.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s was swapped, but not all was tidied up after it: %s", path, error)

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
        with self._reading(self.path), os.scandir(self.path) as entries:
            found = {_stem_of_entry(entry) for entry in entries if not entry.name.startswith(("_", "."))}
        return sorted(stem for stem in found if stem)

    @contextlib.contextmanager
    def _reading(self, path: str | Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error


def may_hold_several(path: str | Path, code: bytes) -> bool:
    """Return whether several tools may be in a file or package; a search takes a thousandth of a parse."""
    return not _is_one_file(path) or code.count(b"tool") > 1


def unit_in(code: bytes, name: str) -> str:
    """Return the name of the file or package that a version's code is; the tool's own, if it holds no other.

    Raises:
        ValueError: it is a damaged text of a package.
    """
    from rollguard.compat import place_of

    return place_of(code, name).unit


def _has_file_name(name: str) -> bool:
    return name_of(stem_of(name)) is not None


def _is_one_file(path: str | Path) -> bool:
    """Return whether it is a tool's file, and no package."""
    return str(path).endswith(".py")


def _stem_of_entry(entry: os.DirEntry[str]) -> str:
    if entry.name.endswith(".py"):
        return entry.name.removesuffix(".py")
    return entry.name if entry.is_dir() and tree.is_tree(entry.path) else ""


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
