"""Serve the present tool of each file of the folder; a file is read again only after a change."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from rollguard.errors import InvalidInput, ToolFileError, ToolLoadError, UnknownTool
from rollguard.model.log import logger_of
from rollguard.model.version import Version
from rollguard.record.call import IsFailure
from rollguard.record.call_marks import CallMarks
from rollguard.record.decorator import checked_timeout
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.folder.file_names import checked_file_name
from rollguard.registry.folder.folder import FileStamp, Folder
from rollguard.registry.serve.admission import Admission
from rollguard.registry.serve.background_checks import BackgroundChecks
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.registry.serve.loader import LoadedTool, load
from rollguard.registry.serve.origins import Origins
from rollguard.registry.serve.problems import problems_of
from rollguard.registry.serve.served import Served, subject_of
from rollguard.registry.serve.sharing import Sharing
from rollguard.sandbox import ChildNotStarted
from rollguard.store import ExecutionStore, Place, digest

logger = logger_of(__name__)

_TOGETHER = 4  # files that `load_all` checks at the same time
_ASK_AGAIN = 5.0  # seconds until an unknown version is queried again
_PATIENCE = 1.0  # seconds that a call waits for another one that records its version
_TRIES, _MOMENT = 10, 0.005  # a file that git or an editor replaces is missing for a moment


class LiveTools:
    """The tools of a folder as this process serves them. You can use it from many threads, and in a forked child.

    Code runs in this process only after it loaded in a child process. Meanwhile the last version that loaded is served.

    Args:
        folder: the folder.
        store: knows the versions.
        failure_rules: for a tool's name, which returned results count as failures.
        timeouts: for a tool's name, the seconds after which a call counts as failed.
        check_every: seconds after which `serve` checks a file that this process did not swap; 0 checks each time.
        clock: a monotonic clock, in seconds.
        checks: whether code loads; by default those of the folder.
        marks: marks calls in flight; by default none are marked.
        origins: makes edits versions, and knows which code is not served; by default it makes none.
        define: called with each tool that is served, and the time limit of its calls.

    Raises:
        InvalidInput: `check_every` is not a number of seconds.

    Attributes:
        before_check: called before each check; may be None.
        sharing: the tools of which two versions serve; None if there are none, whatever the database says.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        failure_rules: Mapping[str, IsFailure] | None = None,
        timeouts: Mapping[str, float] | None = None,
        *,
        check_every: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        checks: LoadChecks | None = None,
        marks: CallMarks | None = None,
        origins: Origins | None = None,
        define: Callable[[str, float | None], None] = lambda _name, _timeout: None,
    ) -> None:
        if isinstance(check_every, bool) or not isinstance(check_every, int | float) or not check_every >= 0:
            raise InvalidInput(f"check_every: {check_every!r} is not a number of seconds, 0 or more")
        self._folder = folder
        self._failure_rules = failure_rules or {}
        self._timeouts = {name: checked_timeout(limit, f"timeouts.{name}") for name, limit in (timeouts or {}).items()}
        self._define = define
        self._check_every = check_every
        self._clock = clock
        self._marks = marks
        self.origins = origins or Origins(folder, store)
        self.before_check: Callable[[], None] | None = None
        self.sharing: Sharing | None = None
        self.admission = Admission(folder, store, LoadChecks(folder.path) if checks is None else checks)
        self._served: dict[str, Served] = {}
        self._lock = threading.RLock()
        self._loading: dict[str, threading.RLock] = {}
        self._recording = threading.Lock()
        self._background = BackgroundChecks(self.admission.checks, store)
        renew_after_fork(self, "_lock", threading.RLock)
        renew_after_fork(self, "_recording", threading.Lock)
        renew_after_fork(self, "_loading", dict)
        store.database.when_replaced(self.forget_versions)

    def forget_versions(self) -> None:
        """Look up every version again, because the database is another one, and numbers them anew."""
        for served in list(self._served.values()):
            served.version_number, served.unrecorded, served.ask_at, served.check_at = None, True, 0.0, 0.0

    def current(self, name: str) -> Served:
        """Return the present content of the tool's file. It waits until new code was checked.

        Raises:
            InvalidToolName: no file can have that name.
            UnknownTool: there is no such file.
            ToolFileError: it cannot be read.
        """
        return self._current(name, wait=True)

    def serve(self, name: str) -> Served:
        """Return the last version that loaded; check the file if the last check is old or this process made a swap.

        It waits only if no version of the tool was loaded yet.

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
        served = self._current(name, wait=False)
        served.swap, served.check_at = swap, now + self._check_every
        if served.unrecorded and now >= served.ask_at and self._recording.acquire(timeout=_PATIENCE):
            try:
                if served.unrecorded and now >= served.ask_at:  # otherwise another thread did it
                    self._record(name, served)
            finally:
                self._recording.release()
        if served.unrecorded or served.held_back:
            served.check_at = min(served.check_at, served.ask_at)
        if self.sharing is not None:
            self.sharing.attend(name, served)
        return served

    def beside(self, version: Version) -> Served | None:
        """Load a version that is to serve beside the file's; None while a child process checks it.

        Raises:
            ToolLoadError: it cannot be loaded.
        """
        name, code, sha256 = version.tool_name, version.code, version.sha256
        if self.admission.must_be_checked(name, code, sha256):
            self._background.check(name, code, sha256, lambda _name, _loads: None)
            return None
        held = self._try(name, code, sha256)
        if isinstance(held, ToolLoadError):
            raise held
        return self._new(name, sha256, held, defines=False)

    def _current(self, name: str, *, wait: bool) -> Served:
        served = self._served.get(name) if isinstance(name, str) else None
        if served is None:
            checked_file_name(name)
        stamp = self._folder.stamp(name)
        if stamp is None and (served is None or served.tool is None):
            raise self._unknown(name)
        if served is None or not served.settled or served.stamp != stamp or self._ask_about(served):
            return self._load(name, wait=wait)
        return served

    def _ask_about(self, served: Served) -> bool:
        return served.held_back and self._clock() >= served.ask_at

    def _unknown(self, name: str) -> UnknownTool:
        known = ", ".join(self._folder.names()) or "none"
        return UnknownTool(f"there is no tool {name!r} in {self._folder.path}; there are: {known}")

    # --- every file ------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at every file again: code that failed is tried again at its next use. Runs nothing and waits for nobody.

        New code of a tool that this process serves is checked in the background.
        """
        self.admission.checks.forget_failures()
        names = set(self._folder.names())
        with self._lock:
            for name, served in list(self._served.items()):
                if name not in names or served.problem is not None:
                    del self._served[name]
                else:
                    served.ask_at, served.refused, served.check_at, served.stamp = 0.0, None, 0.0, None
        for name, served in self.all().items():
            if served.tool is not None:
                with contextlib.suppress(UnknownTool, ToolFileError):  # deleted since the listing; `problems` names it
                    self._load(name, wait=False)

    def load_all(self) -> dict[str, LoadedTool]:
        """Return every tool that loads, by name, as it is on disk now. It waits until new code was checked."""
        names = self._folder.names()
        with self._lock:
            for gone in set(self._served) - set(names):
                del self._served[gone]
        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="rollguard-check") as threads:
            list(threads.map(self._check_ahead, names))
        for name in names:  # in this thread, because some modules can be imported in the main thread only
            self._try_current(name)
        found = ((name, self._served.get(name)) for name in names)
        return {name: served.tool for name, served in found if served is not None and served.tool is not None}

    def problems(self) -> dict[str, str]:
        """Return why files are not served as they are now, by name. It reads syntax trees and runs nothing."""
        return problems_of(self._folder, self.admission, self._served)

    def forget(self, name: str) -> None:
        """Read the tool's file again at its next use. Code that was not checked yet is checked first."""
        with self._lock:
            served = self._served.get(name)
            if served is not None and (served.tool is None or not self.admission.is_waiting(name)):
                del self._served[name]

    def all(self) -> dict[str, Served]:
        """Return every file as it was last checked, by tool name."""
        with self._lock:
            return dict(sorted(self._served.items()))

    # --- one file --------------------------------------------------------------------------------------------------

    def _load(self, name: str, *, wait: bool) -> Served:
        with self._lock:
            lock = self._loading.setdefault(name, threading.RLock())
        known = self._served.get(name)
        if wait or known is None or known.tool is None:
            lock.acquire()
        elif not lock.acquire(blocking=False):  # another thread loads it
            return known
        try:
            return self._load_alone(name, wait=wait)
        finally:
            lock.release()

    def _load_alone(self, name: str, *, wait: bool) -> Served:
        began = time.time_ns()
        known = self._served.get(name)
        stamp, code = self._read(name, patient=known is not None and known.tool is not None)
        settled = stamp.settled(began)
        sha256 = digest(code)
        under_way = known is not None and known.held_back and not settled  # perhaps by a deployment of it
        if known is not None and not under_way and self._is_the_same(known, stamp, sha256):
            known.stamp, known.settled = stamp, settled
            return known
        if (
            known is not None
            and known.tool is not None
            and not wait
            and self.admission.must_be_checked(name, code, sha256)
        ):
            self._background.check(name, code, sha256, self._load_checked)
            return known
        place = self.origins.place_of(name, sha256)
        if place is None and known is not None and known.held_back and known.refusal_of(sha256) is not None:
            known.ask_at = self._clock() + _ASK_AGAIN
            return known
        served = self._chosen(name, stamp, code, sha256, place)
        with self._lock:
            served.stamp, served.settled, self._served[name] = stamp, settled, served
        return served

    def _chosen(self, name: str, stamp: FileStamp, code: bytes, sha256: str, place: Place | None) -> Served:
        """Return what is served from now on: the file's code, or, if it may not be, what is served instead of it."""
        known = self._served.get(name)
        refusal = self.origins.refusal(name, stamp, sha256, place)
        if refusal is None and known is not None and known.tool is not None and known.sha256 == sha256:
            served = known  # touched, or put back as it was
        else:
            held = refusal or self._try(name, code, sha256)
            if isinstance(held, ToolLoadError):
                return self._instead(name, sha256, held, place, held_back=refusal is not None)
            served = self._new(name, sha256, held)
        served.refused, served.held_back = None, False
        served.ask_at = 0.0 if place is not None else self._clock() + _ASK_AGAIN
        served.unrecorded = place is None or place.version_number != place.live or place.live is None
        if place is not None:
            served.version_number = place.version_number
        return served

    def _instead(self, name: str, sha256: str, error: ToolLoadError, place: Place | None, *, held_back: bool) -> Served:
        """Return what is served although the file holds other code: what was served, or the live version.

        Args:
            held_back: the code may load, but is in quarantine or is not live; so what was served may not be it.
        """
        served, known = None, self._served.get(name)
        if known is not None and known.tool is not None and known.sha256 != sha256:
            served = known
        if served is None or (held_back and place is not None and served.sha256 != place.live_sha256):
            version = self.origins.live_code(name, place)
            if version is not None and version.sha256 != sha256:
                held = self._try(name, version.code, version.sha256)
                if isinstance(held, LoadedTool):
                    served = self._new(name, version.sha256, held)
                    served.version_number, served.unrecorded = version.version_number, False
        if served is None:
            logger.error("%s", error)
            served = self._new(name, sha256, error)
            served.version_number = None if place is None else place.version_number
            served.unrecorded, served.ask_at = served.version_number is None, self._clock() + _ASK_AGAIN
            return served
        if served.refusal_of(sha256) is None:
            logger.error("%s%s", error, "" if held_back else "; the last version that loaded goes on serving")
        served.refused, served.held_back, served.ask_at = (sha256, error), held_back, self._clock() + _ASK_AGAIN
        return served

    def _new(self, name: str, sha256: str, held: LoadedTool | ToolLoadError, *, defines: bool = True) -> Served:
        subject = subject_of(name, held, self._failure_rules, self._timeouts.get(name))
        if defines:
            self._define(name, subject.timeout_seconds)
        served = Served(stamp=None, settled=False, sha256=sha256, held=held, subject=subject)
        if self._marks is not None and served.tool is not None:
            served.mark_calls(self._marks)
        return served

    def _read(self, name: str, *, patient: bool) -> tuple[FileStamp, bytes]:
        """Return a file's stamp and content. The file of a tool that is served may be missing for a moment."""
        for _ in range(_TRIES if patient else 1):
            stamp = self._folder.stamp(name)  # before the file is read: the next call finds a later change
            code = None if stamp is None else self._folder.read(name)
            if stamp is not None and code is not None:
                return stamp, code
            if patient:
                time.sleep(_MOMENT)
        with self._lock:
            self._served.pop(name, None)
        raise self._unknown(name)

    def _is_the_same(self, known: Served, stamp: FileStamp, sha256: str) -> bool:
        """Return whether a file holds what it held when it was last read, so that nothing has to be asked."""
        same = known.refusal_of(sha256) is not None or (known.refused is None and known.sha256 == sha256)
        return same and known.stamp == stamp and not self._ask_about(known)

    def _try(self, name: str, code: bytes, sha256: str) -> LoadedTool | ToolLoadError:
        """Return the tool of code that may be run, after it loaded in a child process."""
        try:
            self.admission.admit(name, code, sha256)
            return load(name, code, self._folder.file(name), sha256)
        except ToolLoadError as error:
            return error

    def _check_ahead(self, name: str) -> None:
        """Check the code of a file in a child process, if that has to be done. Its result is kept."""
        served = self._served.get(name)
        with contextlib.suppress(ToolFileError, ChildNotStarted):  # `current` reports them
            stamp = self._folder.stamp(name)
            if stamp is None or (served is not None and served.settled and served.stamp == stamp):
                return
            code = self._folder.read(name)
            sha256 = "" if code is None else digest(code)
            if code is not None and self.admission.must_be_checked(name, code, sha256):
                self.admission.checks.of(name, code, sha256)

    def _try_current(self, name: str) -> None:
        try:
            self.current(name)
        except UnknownTool:  # deleted since the listing
            self._served.pop(name, None)
        except ToolFileError:  # one file's error must not stop the others; `problems` names it
            self._served.pop(name, None)

    def _load_checked(self, name: str, loads: bool) -> None:
        """Serve code that was checked in the background."""
        served = self._load(name, wait=True)
        if loads and served.refused is not None and not served.held_back:  # in the main thread it may load
            served.refused, served.stamp, served.check_at = None, None, 0.0

    def _record(self, name: str, served: Served) -> None:
        """Find out the version of code that is called; code that was edited in place becomes one."""
        served.ask_at = self._clock() + _ASK_AGAIN
        place = self.origins.place_of(name, served.sha256)
        if served.tool is None or place is None or not self.origins.records(name):
            served.version_number = None if place is None else place.version_number
            served.unrecorded = served.version_number is None
            if served.tool is None and not served.unrecorded:  # unknown by its syntax tree, and deployed by now
                served.stamp, served.settled = None, False
            return
        with contextlib.suppress(UnknownTool, ToolFileError):
            stamp, code = self._read(name, patient=False)
            if digest(code) == served.sha256:
                served.version_number = self.origins.version_of(name, stamp, code, place)
                served.unrecorded = served.version_number is None
