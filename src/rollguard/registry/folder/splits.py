"""What a machine knows of the rollouts of its tools: a file beside the spool, read like the tools' own files."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollguard.errors import InvalidInput, StoreError
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.model.split import Router, Split
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.folder.folder import Folder
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

_TRIES, _MOMENT = 100, 0.02  # how long another process may write the file

_Stamp = tuple[int, int, int] | None


class Splits:
    """By what the calls of each tool under rollout are drawn.

    The database says it. A process that learns of a change writes the file, and every process of the machine reads the
    file when it checks the tool's own. If the file cannot be written, the process keeps in memory what it learns.

    Args:
        folder: the folder of tools.
        store: the store of the rollouts; a file of another database is ignored.
        access: who may read the file.
        routers: for a tool's name, what draws its calls outside this process, and is notified of each change.
    """

    def __init__(
        self,
        folder: Path,
        store: ExecutionStore,
        access: FileAccess = FileAccess.OWNER,
        routers: Mapping[str, Router] | None = None,
    ) -> None:
        self._store, self._access = store, access
        self.routers = dict(routers or {})
        self._path = folder / ".rollguard" / "rollouts.json"
        self._database = hashlib.sha256(str(store.database).encode()).hexdigest()[:12]
        self._stamp: _Stamp = None
        self._known: dict[str, Split] = {}
        self._routed: dict[str, Split] = {}
        self._lock = threading.Lock()
        renew_after_fork(self, "_lock", threading.Lock)

    def of(self, tool_name: str) -> Split | None:
        """Return by what the tool's calls are drawn; None if one version serves alone. It looks at the file's stamp."""
        return self.present().get(tool_name)

    def present(self) -> dict[str, Split]:
        """Return by what the calls of each tool under rollout are drawn, by tool."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return self._known
        if self._lock.acquire(blocking=False):
            try:
                self._read(stamp)
            finally:
                self._lock.release()
        elif self._stamp is None:  # a process that begins: its first calls are drawn, too
            return self._kept()
        return self._known  # another thread brings what is new: no call waits for it

    def bring(self) -> None:
        """Bring the file to what the database says now, and notify the routers. The newest of several writers wins.

        Raises:
            StoreError: the database cannot be reached.
        """
        if not self._store.rollouts.splits() and self._stamp_now() is None and not self._known:
            return  # as nearly always
        with self._lock, self._alone():
            present = self._store.rollouts.splits()
            self._read(self._stamp_now())
            if present != self._known:
                self._write(present)
                self._known = present
                self._stamp = self._stamp_now()
                Folder.latest_swap = object()  # so that the next call in this process looks
        for name, router in self.routers.items():
            if self._routed.get(name) != present.get(name):
                router.use_split(name, present.get(name))
        self._routed = present

    def bring_quietly(self) -> None:
        """Bring the file to what the database says. If that is away, it is brought later."""
        try:
            self.bring()
        except StoreError as error:
            logger.warning("changes of rollouts are noticed later: %s", error)

    def _stamp_now(self) -> _Stamp:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - every check of a tool runs this
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self, stamp: _Stamp) -> None:
        if stamp is not None and stamp != self._stamp:
            self._known, self._stamp = self._kept(), stamp

    def _kept(self) -> dict[str, Split]:
        """Return what the file says."""
        try:
            kept = json.loads(self._path.read_bytes())
            ours = kept["tools"] if kept["database"] == self._database else {}
            return {name: _split_of(values) for name, values in ours.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, InvalidInput) as error:
            logger.warning("%s cannot be read, so one version of each tool serves alone: %s", self._path, error)
            return {}

    def _write(self, splits: Mapping[str, Split]) -> None:
        tools = {name: {**_values_of(split), "key": split.key.hex()} for name, split in sorted(splits.items())}
        try:
            self._access.write_whole(self._path, json.dumps({"database": self._database, "tools": tools}).encode())
        except OSError as error:
            logger.warning("%s cannot be written, so other processes learn of rollouts later: %s", self._path, error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other writers of this machine away, as far as the folder can be written."""
        descriptor = -1
        try:
            self._access.make_folder(self._path.parent)
            descriptor = self._access.open(self._path.with_suffix(".lock"), os.O_RDWR)
            _lock_soon(descriptor)
        except OSError as error:
            logger.debug("%s is written without a lock: %s", self._path, error)
        try:
            yield
        finally:
            if descriptor != -1:
                os.close(descriptor)


def _lock_soon(descriptor: int) -> None:
    """Lock a file; raise `OSError` if another process holds it for seconds, because it is suspended."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_MOMENT)
    raise BlockingIOError("another process holds its lock")


_NAMES = ("rollout_id", "old", "new", "stage", "share")


def _values_of(split: Split) -> dict[str, Any]:
    return {name: getattr(split, name) for name in _NAMES}


def _split_of(values: Mapping[str, Any]) -> Split:
    return Split(**{name: values[name] for name in _NAMES}, key=bytes.fromhex(values["key"]))
