"""The SQLite file that is open, and whether it is still the one at its path.

A connection keeps what it opened. When the file is deleted, or another one is put in its place, SQLite goes on reading
and writing what nobody else can see. So Rollguard compares the file and its write-ahead log with what it opened before
each use, and again after each commit.

References:
    https://www.sqlite.org/howtocorrupt.html, sections 1.3 and 1.4: a log beside another database spoils it.
    https://www.sqlite.org/wal.html: who has a log open holds a lock on its index, and one on its database.

A connection opens the log by its path when it first reads. So that it never takes the log of another file, processes
open and close a file, and put a log aside, one after the other: see `rollguard.store.database.folder_lock`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollguard.errors import SchemaDamaged, StoreUnavailable
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.store.database.file_facts import Stamp, locks, size_of, stamp_of
from rollguard.store.database.folder_lock import FolderLock

logger = logger_of(__name__)

_HEADER = 32  # bytes at the beginning of a log
_BLOCK = 512  # bytes in which the system counts what a file occupies
_LARGEST_PAGE, _GIB = 65_536, 2**30  # bytes
_LOOKS, _BETWEEN_LOOKS = 4, 0.002  # at a file that seems to be cut off; seconds
_TRIES = 3  # to open a file that is replaced at this moment
_SETTLED = 2.0  # seconds; a process that uses a file sees within one that it was replaced


def text_of(stored: bytes) -> str:
    """Return text as it is read from SQLite, which takes bytes that are no UTF-8 from other programs."""
    return stored.decode("utf-8", "replace")


def switch_to_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to WAL, so that readers and the writer do not wait for each other; retry, as no busy timeout covers it."""
    while True:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _occupied(found: os.stat_result) -> int:
    """Return how many bytes a file occupies, with the page that SQLite never writes in one of more than 1 GiB."""
    return found.st_blocks * _BLOCK + (_LARGEST_PAGE if found.st_size > _GIB else 0)


def size_by(connection: Any) -> int:
    """Return how long the file is once the log is written into it, as a connection knows it."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


class SqliteFile:
    """A SQLite file by its path.

    Args:
        path: where it is, absolutely.
        name: how errors name it.
        access: who may read a file that is made; None to let SQLite make it.
        create: whether it is made if it is missing, until it was opened once.

    Attributes:
        lock: is held by who opens or closes the file, or puts its log aside.
        broken: whether the connections must be renewed, because the file could not be used through them.
        replaced: whether it was replaced, and those that know the former one are not notified yet.
        shrunk: whether it became smaller, or got holes, so that it may have been cut off.
    """

    def __init__(self, path: Path, name: str, access: FileAccess | None = None, *, create: bool = True) -> None:
        self.path, self.name, self._access = path, name, access
        self.lock = FolderLock(path.parent, name)
        self.broken = self.replaced = self.shrunk = False
        self._extent = (0, 0)  # its size, and bytes that it occupies, when it was last looked at
        self._file, self._wal, self._shm = str(path), f"{path}-wal", f"{path}-shm"
        self._create = create
        self._opened: Stamp | None = None
        self._left: tuple[Stamp, bytes] | None = None  # the log that was there when the last connection was closed
        self._logs: tuple[Stamp | None, Stamp | None] = (None, None)  # of what is open: log and its index

    @property
    def may_create(self) -> bool:
        """Return whether opening it may make it."""
        return self._create and self._opened is None

    def open(
        self,
        connect: Callable[[], sqlite3.Connection],
        prepare: Callable[[sqlite3.Connection], object],
        *,
        make: bool = True,
    ) -> tuple[sqlite3.Connection, Stamp | None]:
        """Connect, and return what was opened.

        Args:
            connect: opens the file.
            prepare: reads first, so that the log is opened.
            make: make it if it is missing and may be made.

        Raises:
            StoreUnavailable: it is replaced again and again; or another file's log is beside it, and nobody puts it
                aside; or there is a log and no file, so that SQLite would remove the log.
        """
        began, tries, waited = time.time(), 0, False
        while tries < _TRIES:
            with self.lock.alone():
                before = stamp_of(self._file)
                if self._opened is not None and before == self._opened and not size_of(self._file):
                    raise self._gone("was emptied")  # SQLite would remove its log, which others still write
                foreign = self._foreign_log(began) if self._logs[0] is None else None
                if foreign is None:
                    if make:
                        self._make()
                    connection = connect()
                    after = stamp_of(self._file)
                    if before in (None, after) and self._opened in (None, after):
                        self._opened = after
                        self._prepare(connection, prepare)
                        return connection, after
                    connection.close()  # before it read anything; the next use finds that the file was replaced
                    tries += 1
                    continue
            # Who has the former file open puts its log aside. SQLite would write that log into the new file.
            since, says = foreign
            if not 0 <= time.time() - since < _SETTLED:
                raise StoreUnavailable(f"{self.name} {says}")
            if not waited:
                logger.warning("%s was just put in its place; waiting until the former file's log is gone", self.name)
                waited = True
            time.sleep(0.02)
        raise StoreUnavailable(f"{self.name} is being replaced; try again")

    def connect(self, patience: float) -> sqlite3.Connection:
        """Open a connection to read, for any one thread at a time, that waits so many seconds for a lock."""
        uri = f"{self.path.as_uri()}?mode=rw"  # never makes a file
        connection, _opened = self.open(
            lambda: sqlite3.connect(uri, uri=True, timeout=patience, check_same_thread=False, isolation_level=None),
            lambda opened: opened.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone(),
            make=False,
        )
        connection.text_factory = text_of
        return connection

    def _make(self) -> None:
        if self.may_create and self._access is not None:
            with contextlib.suppress(OSError):  # it is there, or SQLite says what is wrong
                os.close(self._access.create(self.path, os.O_RDWR))

    def _prepare(self, connection: sqlite3.Connection, prepare: Callable[[sqlite3.Connection], object]) -> None:
        try:
            prepare(connection)
        except BaseException:
            connection.close()
            raise

    def _foreign_log(self, began: float) -> tuple[float, str] | None:
        """Return since when the log or its index may not be this file's, and what to do; None if they are.

        Raises:
            StoreUnavailable: there is a log, and no file or an empty one.
        """
        present = stamp_of(self._file)
        if not size_of(self._file) and (size_of(self._wal) or (present is not None and self._index_users())):
            raise self._gone("is gone, and its log is there" if present is None else "was emptied")
        if self.is_used_for_another():
            return (
                began,
                "is gone or was replaced, and other processes still write the log of the former file; try again",
            )
        since = self._put_beside_a_log() if self.may_create else None  # a former file may come back to its own log
        if since is None:
            return None
        return since, (
            "was put in its place after the log beside it was written, which would spoil it: move "
            f"{self._wal} away; if it does belong to the file, say so with: touch {self._wal}"
        )

    def is_used_for_another(self) -> bool:
        """Return whether other processes have the log's index open, and none the file: they have another one.

        Their commits make that log newer than the file. Without a log SQLite would take over the index all the same. A
        file that was moved away may come back, so none is made meanwhile.
        """
        file = stamp_of(self._file)
        return bool(self._index_users()) and (file is None or file[1] not in locks())

    def _index_users(self) -> set[int]:
        """Return the other processes that have the log's index open."""
        index = stamp_of(self._shm)
        return set() if index is None else locks().get(index[1], set()) - {os.getpid()}

    def _put_beside_a_log(self) -> float | None:
        """Return when the file was renamed, if that is since it was written, and its log was not touched since then."""
        try:
            file, log = self.path.stat(), os.stat(self._wal)  # noqa: PTH116
        except OSError:  # one of them is missing, which opening finds
            return None
        renamed = file.st_ctime_ns > file.st_mtime_ns and log.st_ctime_ns <= log.st_mtime_ns
        return file.st_ctime if renamed and log.st_size and file.st_ctime_ns >= log.st_mtime_ns else None

    def opened_log(self) -> Stamp | None:
        """Note the write-ahead log that the latest connection opened, and return it."""
        self._logs = stamp_of(self._wal), stamp_of(self._shm)
        return self._logs[0]

    def closed(self) -> None:
        """Note that no connection is open, so that other processes may remove and make the log."""
        self._logs = (None, None)
        self._left = self._log_there()

    def is_same(self) -> bool:
        """Return whether the connections have open what is at the path, and can use it.

        Raises:
            StoreUnavailable: the file is gone, or empty.
        """
        if self._opened is None:
            if not self.may_create and stamp_of(self._file) is None:
                raise self._gone("is gone")
            self.broken = False  # nothing is open that could be
            return True
        try:
            found = os.stat(self._file)  # noqa: PTH116 - a `Path` takes four times as long
        except OSError as error:
            raise self._gone("is gone") from error
        if not stat.S_ISREG(found.st_mode):
            raise self._gone("is no file")
        if not found.st_size:
            raise self._gone("was emptied")
        if self._is_cut_off(found):
            self.broken = self.shrunk = True
        log = self._logs[0]
        same = self._opened == (found.st_dev, found.st_ino) and (log is None or log == stamp_of(self._wal))
        return same and not self.broken

    def _is_cut_off(self, found: os.stat_result) -> bool:
        """Return whether it became smaller, or got holes, since it was last looked at.

        A checkpoint makes a file that was cut off as long as before, with holes for what was not in the log. Another
        thread may have looked later and noted more; and while a system finds a place for what is written, a file may
        seem to occupy less for an instant. So it is looked at several times.
        """
        for look in range(_LOOKS):
            if look:
                time.sleep(_BETWEEN_LOOKS)
                with contextlib.suppress(OSError):
                    found = os.stat(self._file)  # noqa: PTH116 - as above
            if not self._is_less(found):
                self._extent = found.st_size, max(self._extent[1], found.st_blocks * _BLOCK)
                return False
        return True

    def _is_less(self, found: os.stat_result) -> bool:
        (size, held), holds = self._extent, _occupied(found)
        return found.st_size < size or (size <= held and holds < min(held, found.st_size))

    def _gone(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.name} {what}; put it back, from a backup if need be, or remove what is left of it and make a new "
            "one with any command of rollguard"
        )

    def refuse_ghost(
        self, opened: Stamp | None, log: Stamp | None, size: Callable[[], int], *, committed: bool
    ) -> None:
        """Raise `StoreUnavailable` unless a transaction is in what is at the path, and that is whole.

        Args:
            size: returns how long the file is to be, by the connection.
            committed: whether the transaction is.
        """
        if opened is None:
            return
        try:
            found = os.stat(self._file)  # noqa: PTH116 - as above
        except OSError:
            found = None
        if found is not None and (found.st_dev, found.st_ino) == opened and (log is None or stamp_of(self._wal) == log):
            if not self._is_cut_off(found):
                return
            self.broken = self.shrunk = True  # so the next use looks through it
            if self._is_shortened(found, size, committed=committed):
                return
        self.broken = True
        raise StoreUnavailable(
            f"{self.name} was removed, replaced or cut off during a transaction, so what it wrote may be lost; try "
            "again"
        )

    def _is_shortened(self, found: os.stat_result, size: Callable[[], int], *, committed: bool) -> bool:
        """Return whether it is SQLite itself that made the file shorter, as it does after a VACUUM."""
        if not found.st_size or _occupied(found) < found.st_size:
            return False
        try:
            needed = size()
        except sqlite3.Error:  # it is damaged
            return False
        return needed < self._extent[0] and (not committed or needed <= found.st_size)

    def renew(self, close: Callable[[], None]) -> None:
        """Get ready to open what is at the path now. No thread uses a connection.

        Args:
            close: closes every connection of this process.

        Raises:
            SchemaDamaged: it is no store.
            StoreUnavailable: the log of the file before cannot be put aside.
        """
        present = stamp_of(self._file)
        self._extent = (0, 0)
        if present not in (None, self._opened):
            logger.warning("%s was replaced; from now on the new file counts", self.name)
            self.replaced = True
            with self.lock.alone():
                self._replace(close)
        else:
            if not self.broken:
                logger.warning("%s lost its write-ahead log, so it is opened anew", self.name)
            close()
        self._opened, self.broken = present or self._opened, False

    def _replace(self, close: Callable[[], None]) -> None:
        """Close the former file, and put its log aside, which would spoil the new one; leave any other log."""
        try:
            with open(self._wal, "rb") as log:  # noqa: PTH123 - while it is open, no later log gets its inode
                old = self._is_old(self._log_there())
                close()
                self._refuse_foreign()
                if old:
                    Path(self._shm).unlink(missing_ok=True)
                    aside = f"{self._wal}-former-{os.fstat(log.fileno()).st_ino}"
                    Path(self._wal).rename(aside)
                    logger.warning("the log of the former file is kept as %s", aside)
        except FileNotFoundError:
            self._remove_former_index()
            close()
            self._refuse_foreign()
        except OSError as error:
            raise StoreUnavailable(
                f"{self.name} was replaced, and the former log would spoil it: move {self._wal} away ({error})"
            ) from error

    def _remove_former_index(self) -> None:
        """Remove the index of a former log that SQLite itself has removed, because somebody opened an emptied file.

        Nobody has the new file open yet: who opens it waits, as long as this process has the index open.
        """
        file, index, held = stamp_of(self._file), self._logs[1], locks()
        ours = index is not None and index == stamp_of(self._shm) and index[1] in held
        if ours and file is not None and file[1] not in held:
            Path(self._shm).unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        """Raise `SchemaDamaged` if the new file is no store. Should the former one come back, it needs its log."""
        try:
            with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)) as file:
                if file.execute("SELECT version_num FROM rollguard_schema_version").fetchone():
                    return
        except sqlite3.Error as error:
            raise SchemaDamaged(
                f"{self.name} was replaced by a file that is no store of Rollguard ({error}); restore a backup"
            ) from error
        raise SchemaDamaged(f"{self.name} was replaced by a store without a schema; restore a backup")

    def _is_old(self, there: tuple[Stamp, bytes] | None) -> bool:
        log, index = self._logs
        if there is None or log is None:  # nothing is open: only the random header tells the log from a later one
            return there is not None and bool(there[1]) and there == self._left
        return there[0] == log and stamp_of(self._shm) in (None, index)

    def _log_there(self) -> tuple[Stamp, bytes] | None:
        """Return which log is beside the file: its inode, which others may get later, and its random header."""
        try:
            with open(self._wal, "rb") as log:  # noqa: PTH123
                found = os.fstat(log.fileno())
                return (found.st_dev, found.st_ino), log.read(_HEADER)
        except OSError:
            return None
