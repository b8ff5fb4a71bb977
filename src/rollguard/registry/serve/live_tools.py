"""Serve the present tool of each file of the folder; a file is read again only after a change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from rollguard.errors import InvalidInput, StoreError, ToolFileError, ToolLoadError, UnknownTool
from rollguard.model.log import logger_of
from rollguard.record.call import IsFailure, Subject
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.folder.folder import FileStamp, Folder, checked_file_name
from rollguard.registry.serve.loader import LoadedTool, load
from rollguard.store import ExecutionStore, digest

logger = logger_of(__name__)

_RACY_NS = 2_000_000_000  # the times of file systems have steps of up to two seconds
_ASK_AGAIN = 5.0  # seconds until an unknown version is queried again


@dataclass(slots=True)
class Served:
    """One file: its tool, or why it has none.

    Attributes:
        stamp: the file's stamp when it was read.
        settled: whether every later change of the file changes its stamp. A file written just before the read may be
            written again at the same file system time, with the same inode.
        held: the tool, or its error.
        subject: what a call of it runs.
        version_number: the version of the file's code; None if it is unknown, or not a version.
        ask_at: when to query an unknown version (by the monotonic clock).
        swap: `Folder.latest_swap` before the file was last checked.
        check_at: when to check the file although this process made no swap since (by the monotonic clock).
    """

    stamp: FileStamp
    settled: bool
    sha256: str
    held: LoadedTool | ToolLoadError
    subject: Subject
    version_number: int | None = None
    ask_at: float = 0.0
    swap: object = None
    check_at: float = 0.0

    @property
    def tool(self) -> LoadedTool | None:
        """Return the tool, if the file has one."""
        return self.held if isinstance(self.held, LoadedTool) else None

    @property
    def problem(self) -> ToolLoadError | None:
        """Return why the file has no tool, or None."""
        return self.held if isinstance(self.held, ToolLoadError) else None

    def loaded(self) -> LoadedTool:
        """Return the tool, or raise its `ToolLoadError`."""
        if isinstance(self.held, ToolLoadError):
            _refuse(self.held)
        return self.held


class LiveTools:
    """The tools of a folder as this process serves them. You can use it from many threads, and in a forked child.

    Args:
        folder: the folder.
        store: knows the versions.
        failure_rules: for a tool's name, which returned results count as failures.
        look_every: seconds after which `serve` checks a file that this process did not swap; 0 checks each time.
        clock: a monotonic clock, in seconds.

    Raises:
        InvalidInput: `look_every` is not a number of seconds.

    Attributes:
        before_check: called before each check; may be None.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        failure_rules: Mapping[str, IsFailure] | None = None,
        *,
        look_every: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if isinstance(look_every, bool) or not isinstance(look_every, int | float) or not look_every >= 0:
            raise InvalidInput(f"look_every: {look_every!r} is not a number of seconds, 0 or more")
        self._folder = folder
        self._store = store
        self._failure_rules = failure_rules or {}
        self._look_every = look_every
        self._clock = clock
        self.before_check: Callable[[], None] | None = None
        self._served: dict[str, Served] = {}
        self._unreadable: dict[str, str] = {}
        self._lock = threading.RLock()
        renew_after_fork(self, "_lock", threading.RLock)
        store.database.when_replaced(self.forget_versions)

    def forget_versions(self) -> None:
        """Look up every version again, because the database is another one, and numbers them anew."""
        for served in list(self._served.values()):
            served.version_number, served.ask_at, served.check_at = None, 0.0, 0.0

    def current(self, name: str) -> Served:
        """Return the present content of the tool's file.

        Raises:
            InvalidToolName: no file can have that name.
            UnknownTool: there is no such file.
            ToolFileError: it cannot be read.
        """
        served = self._served.get(name) if isinstance(name, str) else None
        if served is None:
            checked_file_name(name)
        stamp = self._folder.stamp(name)
        if stamp is None:
            known = ", ".join(self._folder.names()) or "none"
            raise UnknownTool(f"there is no tool {name!r} in {self._folder.path}; there are: {known}")
        if served is None or not served.settled or served.stamp != stamp:
            with self._lock:
                served = self._load(name)
        if served.version_number is None and self._clock() >= served.ask_at:
            self._look_up_version(name, served)
        return served

    def serve(self, name: str) -> Served:
        """Return `current`, but check the file only if the last check is old or this process made a swap since.

        Raises:
            InvalidToolName, UnknownTool, ToolFileError: as for `current`.
        """
        try:
            served = self._served[name]
            if self._clock() < served.check_at and served.swap is Folder.latest_swap:
                return served
        except (KeyError, TypeError):  # TypeError: not a string, such as a list
            pass
        return self._check(name)

    def _check(self, name: str) -> Served:
        if self.before_check is not None:
            self.before_check()
        swap, now = Folder.latest_swap, self._clock()  # before the file: the next call finds a swap after this line
        served = self.current(name)
        served.swap, served.check_at = swap, now + self._look_every
        if served.version_number is None:
            served.check_at = min(served.check_at, served.ask_at)
        return served

    def refresh(self) -> None:
        """Check every file again."""
        with self._lock:
            names = self._folder.names()
            for gone in set(self._served) - set(names):
                del self._served[gone]
            self._unreadable = {}
            for name in names:
                known = self._served.get(name)
                if known is not None and known.problem is not None:
                    del self._served[name]  # the modules it needed may exist now
                elif known is not None:
                    known.ask_at = 0.0
                try:
                    self.current(name)
                except UnknownTool:  # deleted since the listing
                    self._served.pop(name, None)
                except ToolFileError as error:  # one file's error must not stop the others
                    self._served.pop(name, None)
                    self._unreadable[name] = str(error)

    def forget(self, name: str) -> None:
        """Read the tool's file again at its next use."""
        with self._lock:
            self._served.pop(name, None)

    def all(self) -> dict[str, Served]:
        """Return every file as it was last checked, by tool name."""
        with self._lock:
            return dict(sorted(self._served.items()))

    def problems(self) -> dict[str, str]:
        """Return why files, as last checked, are not served, by tool name."""
        with self._lock:
            held = {name: str(served.problem) for name, served in self._served.items() if served.problem}
            return dict(sorted({**held, **self._unreadable}.items()))

    def _load(self, name: str) -> Served:
        began = time.time_ns()
        stamp = self._folder.stamp(name)  # before the file is read: the next call finds a later change
        code = self._folder.read(name)
        if stamp is None or code is None:
            raise UnknownTool(f"{name!r} was deleted from {self._folder.path}")
        settled = max(stamp.modified_ns, stamp.changed_ns) + _RACY_NS < began
        sha256 = digest(code)
        known = self._served.get(name)
        if known is not None and known.sha256 == sha256:
            known.stamp, known.settled = stamp, settled
            return known
        served = Served(stamp, settled, sha256, *self._try(name, code, sha256))
        self._served[name] = served
        return served

    def _try(self, name: str, code: bytes, sha256: str) -> tuple[LoadedTool | ToolLoadError, Subject]:
        try:
            tool = load(name, code, self._folder.file(name), sha256)
        except ToolLoadError as error:
            logger.error("%s", error)
            return error, Subject(name, partial(_refuse, error))
        return tool, Subject(name, tool.invoke, judges_of(name, tool, self._failure_rules), tool.is_async)

    def _look_up_version(self, name: str, served: Served) -> None:
        """Query the version of this code. Calls do not wait for the query while the version is unknown."""
        try:
            version = self._store.versions.find(name, served.sha256)
        except StoreError as error:
            logger.warning("the version of %s is not known yet: %s", name, error)
            version = None
        served.ask_at = self._clock() + _ASK_AGAIN
        served.version_number = version.version_number if version else None


def judges_of(name: str, tool: LoadedTool | None, failure_rules: Mapping[str, IsFailure]) -> tuple[IsFailure, ...]:
    """Return the checks for failures in a tool's results: the tool's own, then that of the settings."""
    both = (tool.is_failure if tool else None, failure_rules.get(name))
    return tuple(judge for judge in both if judge is not None)


def _refuse(error: ToolLoadError, /, **_parameters: Any) -> NoReturn:
    """Raise a copy of the error; a repeatedly raised one would collect the frames of every call."""
    raise ToolLoadError(str(error)) from error.__cause__
