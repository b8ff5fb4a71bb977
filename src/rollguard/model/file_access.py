"""Who may read the files that Rollguard creates: the database, the spool, the state beside the tools."""

from __future__ import annotations

import contextlib
import os
import uuid
from enum import StrEnum
from pathlib import Path


class FileAccess(StrEnum):
    """Who may read and write the files of Rollguard's own. Files that are there already keep their mode."""

    OWNER = "owner"
    GROUP = "group"
    UMASK = "umask"

    @property
    def mode(self) -> int:
        """Return the mode of a new file; the umask may take away more, but not from a group that is allowed."""
        return {FileAccess.OWNER: 0o600, FileAccess.GROUP: 0o660, FileAccess.UMASK: 0o666}[self]

    @property
    def refused(self) -> int:
        """Return the bits of a mode that nobody but the allowed should have."""
        return {FileAccess.OWNER: 0o077, FileAccess.GROUP: 0o007, FileAccess.UMASK: 0}[self]

    def open(self, path: Path, flags: int) -> int:
        """Open a file, or create it with the mode, and return its descriptor.

        Raises:
            OSError: neither is possible.
        """
        for _ in range(3):  # another process may create or remove it at this moment
            try:
                return os.open(path, flags | os.O_CLOEXEC)
            except FileNotFoundError:
                try:
                    return self.create(path, flags)
                except FileExistsError:
                    continue
        return os.open(path, flags | os.O_CLOEXEC)

    def create(self, path: Path, flags: int) -> int:
        """Create a file with the mode, and return its descriptor.

        Raises:
            FileExistsError: something is there already.
            OSError: it cannot be created.
        """
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.mode)
        if self is FileAccess.GROUP:
            os.fchmod(descriptor, self.mode)
        return descriptor

    def make_folder(self, path: Path) -> None:
        """Create a folder with the mode, if there is none; folders above it are as the umask says.

        Git ignores a new `.rollguard`: it may hold what tools were called with, and lies in the folder of their code.

        Raises:
            OSError: it cannot be created, or something else is there.
        """
        if path.is_dir():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = self.mode | (self.mode & 0o444) >> 2  # who may read may enter
        path.mkdir(mode=mode, exist_ok=True)
        if self is FileAccess.GROUP:
            path.chmod(mode)
        if path.name == ".rollguard":
            with (
                contextlib.suppress(FileExistsError),
                os.fdopen(self.create(path / ".gitignore", os.O_WRONLY), "w") as file,
            ):
                file.write("*\n")

    def write_whole(self, path: Path, content: bytes) -> None:
        """Write a file that processes share, in one step, with the mode. Make its folder if there is none.

        Raises:
            OSError: it cannot be written; what was there before is unchanged.
        """
        self.make_folder(path.parent)
        temporary = path.with_name(f".{path.stem[:50]}-{uuid.uuid4().hex}")
        try:
            with os.fdopen(self.create(temporary, os.O_WRONLY), "wb") as file:
                file.write(content)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def umask() -> int:
    """Return the umask of this process. A file that a thread creates at this moment is more private, never less."""
    present = os.umask(0o077)
    os.umask(present)
    return present
