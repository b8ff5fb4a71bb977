"""A package of tools on disk: read its files, tell when they change, and put another version of them in its place.

A version is written beside the package and takes its place in one step, so nobody sees a half of it, and a process that
is killed at any moment leaves the one or the other. Where the system has no such step (some network file systems, and
folders of a container's image), the package is removed before, and the journal of swaps restores it after a crash.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rollguard.errors import InvalidInput, ToolFileError
from rollguard.model.file_access import umask

MOST_BYTES, MOST_FILES = 4 * 2**20, 1_000
INIT = "__init__.py"

_RACY_NS = 2_000_000_000  # the times of file systems have steps of up to two seconds
_SWAPPED = ".rollguard-swap"  # in a folder that is about to be removed
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux; RENAME_SWAP of macOS is 2, too

KeepOwner = Callable[[int, "os.stat_result | None", Path], None]


class FileStamp(NamedTuple):
    """The parts of a status that change with each swap or edit. Of a package it comprises all of its files."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    def settled(self, now_ns: int) -> bool:
        """Return whether every change since then changes the stamp; a file written just before may be written again."""
        return max(self.modified_ns, self.changed_ns) + _RACY_NS < now_ns


def is_tree(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a package: a folder with an `__init__.py`."""
    return os.path.isfile(f"{os.fspath(path)}{os.sep}{INIT}")  # noqa: PTH113 - checks of files ask for it


def stamp_of(path: Path) -> FileStamp:
    """Return the stamp of a package.

    Raises:
        ToolFileError: it holds what no package may hold, or cannot be read.
    """
    found, size, modified, changed = [], 0, 0, 0
    for name, status in _entries(path):
        found.append((name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        modified, changed = max(modified, status.st_mtime_ns), max(changed, status.st_ctime_ns)
    return FileStamp(hash(tuple(sorted(found))), size, modified, changed)


def read(path: Path, tries: int = 3) -> dict[str, bytes]:
    """Return the content of a package's files, by their paths in it.

    Raises:
        ToolFileError: it holds what no package may hold, changes all the time, or cannot be read.
    """
    for _ in range(tries):
        before = stamp_of(path)
        with _errors(path):
            try:
                found = {n: (path / n).read_bytes() for n, s in _entries(path) if stat.S_ISREG(s.st_mode)}
                if before == stamp_of(path):  # else it was replaced meanwhile, and this is a half of each
                    return found
            except FileNotFoundError:
                continue
    raise ToolFileError(f"{path} changes at this moment; try again")


def code_at(path: Path) -> bytes:
    """Return the bytes of a file, or the text of a package.

    Raises:
        InvalidInput: it cannot be read, or is a folder that is no package.
    """
    from rollguard.compat import pack  # a command that only lists does not wait for it

    try:
        if not path.is_dir():
            return path.read_bytes()
        if not is_tree(path):
            raise InvalidInput(f"{path} is a folder without {INIT}; give the folder of a package, or a file")
        return pack(read(path))
    except (OSError, ToolFileError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(
            f"{path} cannot be read: {why}; give a file of Python code, or a package's folder"
        ) from error


def swap(path: Path, files: dict[str, bytes], prefix: str, keep_owner: KeepOwner) -> None:
    """Replace the package, or create it, so that it survives a power loss. What begins with a dot in it is kept.

    Raises:
        OSError: it cannot be written; the package is unchanged.
    """
    if path.exists() and not is_tree(path) and not path.is_symlink() and not (path / _SWAPPED).exists():
        raise FileExistsError(None, "a folder that is no package of tools is in its place")
    with _temporary(path, prefix) as beside:
        before = path if path.is_dir() else None
        _write(beside, files, before, keep_owner)
        if before is not None:
            _keep_hidden(before, beside)
        if not os.path.lexists(path):
            beside.rename(path)
        elif not _exchange(beside, path):
            remove(path)
            beside.rename(path)


def remove(path: Path) -> None:
    """Remove a package. A process that is killed leaves a folder that is no package any more.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        (path / _SWAPPED).touch()
        (path / INIT).unlink(missing_ok=True)
        shutil.rmtree(path)


def remove_leftover(path: Path) -> None:
    """Remove a folder of an interrupted swap, unless the process that writes it lives.

    Raises:
        OSError: it lives, or the folder cannot be removed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
    finally:
        os.close(descriptor)


def _entries(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what a package holds, by its path in it: files, and the folders with their own times."""
    size = count = 0
    waiting = [""]
    with _errors(path):
        while waiting:
            folder = waiting.pop()
            yield folder, os.stat(f"{path}{os.sep}{folder}")  # noqa: PTH116
            with os.scandir(f"{path}{os.sep}{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name.endswith(".pyc"):
                        continue
                    name = _checked(path, f"{folder}/{entry.name}".lstrip("/"), entry)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    size, count = size + status.st_size, count + 1
                    if size > MOST_BYTES or count > MOST_FILES:
                        raise ToolFileError(
                            f"{path} has more than {MOST_BYTES // 2**20} MiB or {MOST_FILES:,} files, which is too "
                            "much for a package of tools; keep data elsewhere, or install the rest as a package"
                        )
                    yield name, status


def _checked(path: Path, name: str, entry: os.DirEntry[str]) -> str:
    from rollguard.compat.archive import checked_path

    try:
        checked_path(name)
        name.encode()
    except ValueError as error:
        raise ToolFileError(f"{path} holds a file that no version can keep: {error}") from error
    if entry.is_symlink():
        raise ToolFileError(f"{path / name} is a link; a package of tools holds files, so put the file itself there")
    if not (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)):
        raise ToolFileError(f"{path / name} is neither a file nor a folder")
    return name


def _write(beside: Path, files: dict[str, bytes], before: Path | None, keep_owner: KeepOwner) -> None:
    folders = {beside, *(parent for name in files for parent in (beside / name).parents if beside in parent.parents)}
    for folder in sorted(folders):
        folder.mkdir(exist_ok=True)
    for name, content in files.items():
        with (beside / name).open("wb") as file:
            file.write(content)
            file.flush()
            keep_owner(file.fileno(), _status(before, name), beside / name)
            os.fsync(file.fileno())
    for folder in sorted(folders, reverse=True):
        with _opened(folder) as descriptor:
            present = _status(before, str(folder.relative_to(beside)))
            if present is not None:
                keep_owner(descriptor, present, folder)
            elif folder == beside:
                os.fchmod(descriptor, 0o777 & ~umask())
            os.fsync(descriptor)


def _keep_hidden(before: Path, beside: Path) -> None:
    """Copy what begins with a dot, which is no part of a version: settings, secrets, a checkout's own files."""
    for entry in before.iterdir():
        if entry.name.startswith(".") and entry.name != _SWAPPED:
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, beside / entry.name, symlinks=True)
            else:
                shutil.copy2(entry, beside / entry.name, follow_symlinks=False)


def _status(before: Path | None, name: str) -> os.stat_result | None:
    try:
        return None if before is None else (before / name).stat()
    except OSError:
        return None


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; return whether the system can."""
    system = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(one), os.fsencode(other)
    if hasattr(system, "renameat2"):
        return bool(system.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0)
    if hasattr(system, "renamex_np"):
        return bool(system.renamex_np(*paths, _EXCHANGE) == 0)
    return False


@contextlib.contextmanager
def _temporary(path: Path, prefix: str) -> Iterator[Path]:
    """Yield a locked folder beside the package; what is in it at the end is removed."""
    beside = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    with _opened(beside) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield beside
        finally:
            if beside.is_symlink():  # a link to a package was replaced, not what it leads to
                beside.unlink()
            shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ToolFileError(f"{path} cannot be read: {error.strerror or error}") from error
