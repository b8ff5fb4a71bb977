"""One at a time opens or closes a SQLite file, or puts its log aside."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rollguard.errors import StoreUnavailable
from rollguard.model.log import logger_of

logger = logger_of(__name__)

PATIENCE = 5.0  # seconds that one waits for others, which takes them milliseconds
_held = threading.local()  # the folders that a thread has locked
_SHORT = 0.1  # seconds that who closes waits, if another one has waited in vain just before
_given_up: dict[Path, float] = {}  # until when that is


class FolderLock:
    """The lock of the folder that a SQLite file is in.

    A lock on the file would end, with all that SQLite holds, when a descriptor is closed.

    Args:
        folder: where the file is.
        name: how errors name the file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    @contextlib.contextmanager
    def alone(self, patience: float | None = None) -> Iterator[None]:
        """Let no other process, and no other thread, in until the block ends. This thread may enter it again inside.

        Args:
            patience: seconds that it waits for another one; by default `PATIENCE`.

        Raises:
            StoreUnavailable: another process is suspended at it.
        """
        held: set[Path] = _held.__dict__.setdefault("folders", set())
        if self._folder in held:
            yield
            return
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a folder that is gone is found in the block
                descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, descriptor)
                self._lock(descriptor, PATIENCE if patience is None else patience)
                stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)  # a forked child may have the descriptor too
            held.add(self._folder)
            stack.callback(held.discard, self._folder)
            yield

    @contextlib.contextmanager
    def closing(self) -> Iterator[None]:
        """Close connections inside: as `alone`, if that is possible soon.

        Who closes the last connection to a file removes its log by its path. Were another file put there meanwhile, and
        opened, that would be the other one's log, with what was committed to it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.alone(_SHORT if time.monotonic() < _given_up.get(self._folder, 0.0) else None))
                _given_up.pop(self._folder, None)
            except StoreUnavailable as error:
                _given_up[self._folder] = time.monotonic() + PATIENCE
                logger.warning("a connection is closed all the same: %s", error)
            yield

    def _lock(self, descriptor: int, patience: float) -> None:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise StoreUnavailable(
                        f"{self._name} is being opened by another process, which does not go on; try again"
                    ) from None
            time.sleep(0.002)
