"""Check new code of tools that are served in the background, so that no call waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rollguard.errors import ToolFileError, UnknownTool
from rollguard.model.log import logger_of
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.sandbox import ChildNotStarted
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

_PATIENCE = 1.0  # seconds that closing the database waits for code that is being loaded


class BackgroundChecks:
    """A thread for each tool whose new code is being checked.

    Args:
        checks: whether code loads, by a child process.
        store: none of its connections is used for a check that began before it was closed.
    """

    def __init__(self, checks: LoadChecks, store: ExecutionStore) -> None:
        self._checks = checks
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._loading, self._closings = threading.RLock(), 0
        renew_after_fork(self, "_threads", dict)
        renew_after_fork(self, "_lock", threading.Lock)
        renew_after_fork(self, "_loading", threading.RLock)
        store.database.before_closing(self._before_closing)

    def check(self, name: str, code: bytes, sha256: str, load: Callable[[str, bool], None]) -> None:
        """Check the new code of a tool and then load it, unless a check of the tool is under way.

        Args:
            load: called with the tool's name, and whether its code loads, to serve it. Only the thread keeps it.
        """
        with self._lock:
            if name in self._threads:
                return
            closings = self._closings
            thread = threading.Thread(
                target=self._check,
                args=(name, code, sha256, load, closings),
                name=f"rollguard-check-{name}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:  # no thread can be started: the next check of the file tries again
                logger.warning("new code of %s is not served yet: %s", name, error)
            else:
                self._threads[name] = thread

    def _check(self, name: str, code: bytes, sha256: str, load: Callable[[str, bool], None], closings: int) -> None:
        try:
            loads = self._checks.of(name, code, sha256).loads
            with self._loading:
                if closings == self._closings:  # else the next call loads it; a connection would outlive its pool
                    load(name, loads)
        except (UnknownTool, ToolFileError, ChildNotStarted) as error:
            logger.warning("new code of %s is not served yet: %s", name, error)
        finally:
            with self._lock:
                self._threads.pop(name, None)

    def _before_closing(self) -> None:
        """Let no check use the database from now on that began before."""
        self._closings += 1
        if self._loading.acquire(timeout=_PATIENCE):
            self._loading.release()
