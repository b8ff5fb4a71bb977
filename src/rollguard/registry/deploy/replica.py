"""Write versions that went live on another machine into this machine's folder, within a second."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from rollguard.errors import InvalidToolName, RollguardError, ToolFileError
from rollguard.model.log import EXITS, logger_of
from rollguard.registry.deploy.hand_edits import keep_hand_edit, remove_unless_shared
from rollguard.registry.folder.file_names import checked_file_name
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.replica_state import ReplicaState
from rollguard.registry.folder.splits import Splits
from rollguard.store import ExecutionStore, Moves, Pointer, digest

logger = logger_of(__name__)

_ASK_EVERY = 0.8  # seconds between two checks without notifications: less than the promised second
_FIRST_RETRY, _LAST_RETRY = 0.8, 60.0  # seconds between two attempts to write a file
_PATIENCE = 10.0  # seconds that `stop` waits for a check under way
_IN_FLIGHT = 100  # deployments that may have a lower number than a known one, but commit later


class Replica:
    """Writes the live versions into one folder, in a thread that starts with the first call.

    It overwrites only files older than the live pointer, under the tool's lock, and only if the pointer has not moved.
    Files edited by hand since then are stored as versions first.

    Args:
        folder: the folder. It follows the tools that it has, or had when it last followed them.
        store: holds the live pointers.
        is_remote: returns whether a tool has an actuator; such a tool is never written.
        wrote: a weak reference to a function that is called with the name of each written tool.
        splits: what the machine knows of the rollouts, which changes with those of the database.

    Attributes:
        state: which deployments the folder has.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        is_remote: Callable[[str], bool],
        wrote: Callable[[], Callable[[str], None] | None],
        splits: Splits | None = None,
    ) -> None:
        self._folder = folder
        self._store = store
        self._is_remote = is_remote
        self._wrote = wrote
        self._splits = splits
        self.state = ReplicaState(folder.path, store, folder.access)
        self._settled: dict[str, int] = {}  # the last settled deployment of each tool
        self._behind: dict[str, tuple[int, str]] = {}
        self._newest = 0
        self._databases = 1  # that it has followed; a check that began with another one ends
        self._waiting = False  # the database is another one, and what the folder holds is being noted
        self._retry, self._retry_at = _FIRST_RETRY, 0.0
        self._run: _Run | None = None
        self._over = False  # the process is ending
        self._lock = threading.Lock()
        store.database.before_closing(self.stop)
        _stop_at_exit(self)
        _forks.add(self)

    @property
    def behind(self) -> dict[str, str]:
        """Return why files do not have the live version, by tool name."""
        return {name: why for name, (_number, why) in sorted(self._behind.items())}

    def start(self) -> None:
        """Start to follow. It costs nothing if the thread runs already."""
        run = self._run
        if self._over or (run is not None and run.lives):
            return
        with self._lock:
            if self._run is not None:
                if self._run.lives:
                    return
                logger.error("the thread that follows deployments on other machines ended, and another one starts")
            moves = self._store.pointers.moves()
            if moves is None:  # no other machine can move a pointer
                return
            self._run = run = _Run(moves)
            weakref.finalize(self, run.stop).atexit = False
            run.start(
                threading.Thread(target=_follow, args=(weakref.ref(self), run), name="rollguard-following", daemon=True)
            )

    def stop(self) -> None:
        """Stop following, after the current write, and close the connection."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:
            run.stop()
            if run.checking.acquire(timeout=_PATIENCE):  # otherwise its connections would outlive their pool
                run.checking.release()
                if run.thread is not None and run.thread is not threading.current_thread():
                    run.thread.join(_PATIENCE)

    def end(self) -> None:
        """Stop for good: later calls, while the process ends, start no thread."""
        self._over = True
        self.stop()

    def follow_anew(self) -> None:
        """Forget what was followed: the database is another one, and numbers its deployments anew.

        Nothing is followed until `go_on`, so that what the folder holds can be noted first.
        """
        self._waiting = True
        self._databases += 1
        self._settled, self._behind, self._newest = {}, {}, 0
        self.state.forget()

    def go_on(self) -> None:
        """Follow again, after `follow_anew`."""
        self._waiting = False

    def made_here(self, tool_name: str, deployment_id: int) -> None:
        """Remember that this folder has the version of a deployment, because this machine made it."""
        self.state.record({tool_name: deployment_id})

    def _begin_anew(self) -> None:
        """Reset to no thread: at the start and in a forked child."""
        self._run, self._lock = None, threading.Lock()

    # --- one check -------------------------------------------------------------------------------------------------

    def pause(self) -> float:
        """Return how long to wait without notifications, in seconds."""
        return min(_ASK_EVERY, max(0.0, self._retry_at - time.monotonic())) if self._behind else _ASK_EVERY

    def due(self) -> bool:
        """Return whether it is time to try failed writes again."""
        return bool(self._behind) and time.monotonic() >= self._retry_at

    def catch_up(self, stopping: threading.Event) -> None:
        """Write the version of every pointer that moved since the last check.

        Raises:
            StoreError: the database cannot be reached or written; the next check tries again.
        """
        first, again, database = not self._newest, self.due(), self._databases
        if self._waiting:
            return
        followed = self.state.all() if first else None  # before asking: what others follow meanwhile is no surprise
        after = min([self._newest - _IN_FLIGHT, *(number - 1 for number, _why in self._behind.values())])
        pointers = self._store.pointers.moved_since(max(0, after))
        for gone in self._store.pointers.withdrawn():
            self._remove(gone)
        if self._splits is not None:
            self._splits.bring()
        if self._databases != database:
            return
        newest = max((pointer.deployment_id for pointer in pointers), default=0)
        if followed and newest < max(followed.values()):
            self.state.forget()
            followed = {}
        todo = [pointer for pointer in pointers if self._needs(pointer, again=again)]
        if followed is None:
            followed = self.state.all() if todo else {}
        has: dict[str, int] = {}
        try:
            for pointer in todo:
                if stopping.is_set() or self._databases != database:
                    return
                self._try(pointer, followed.get(pointer.tool_name), has)
        finally:
            if self._databases == database:
                self.state.record(has)
        self._newest = max(self._newest, newest)
        if not self._behind:
            self._retry = _FIRST_RETRY
        elif again or self._retry_at < time.monotonic():
            self._retry_at = time.monotonic() + self._retry
            self._retry = min(_LAST_RETRY, self._retry * 2)

    def _remove(self, gone: Pointer) -> None:
        """Remove the file of a tool that was withdrawn on another machine, if it holds the code that was."""
        name = gone.tool_name

        def remove() -> None:
            remove_unless_shared(self._folder, self._store, name)
            wrote = self._wrote()
            if wrote is not None:
                wrote(name)
            logger.info("%s was withdrawn on another machine, and is served here no longer", name)

        if self._is_remote(name) or not _has_file_name(name):
            return
        try:
            if self._holds(gone):
                self._store.pointers.while_withdrawn(gone, lambda: remove() if self._holds(gone) else None)
        except ToolFileError as error:
            logger.error("%s was withdrawn, and its file here is not removed yet: %s", name, error)

    def _holds(self, pointer: Pointer) -> bool:
        present = self._folder.read(pointer.tool_name)
        return present is not None and digest(present) == pointer.sha256

    def _needs(self, pointer: Pointer, *, again: bool) -> bool:
        name = pointer.tool_name
        if self._settled.get(name, 0) >= pointer.deployment_id:
            return False
        return again or name not in self._behind or self._behind[name][0] != pointer.deployment_id

    def _try(self, pointer: Pointer, followed: int | None, has: dict[str, int]) -> None:
        name = pointer.tool_name
        try:
            if self._bring(pointer, followed):
                has[name] = pointer.deployment_id
        except (_Again, ToolFileError) as error:
            if self._behind.get(name) != (pointer.deployment_id, str(error)):
                self._say_behind(pointer, error)
            self._behind[name] = (pointer.deployment_id, str(error))
        else:
            self._settled[name] = pointer.deployment_id
            self._behind.pop(name, None)

    def _say_behind(self, pointer: Pointer, error: Exception) -> None:
        logger.log(
            logging.INFO if isinstance(error, _Again) else logging.ERROR,
            "%s: version %d is live, and the file here is not brought to it yet: %s",
            pointer.tool_name,
            pointer.version_number,
            error,
        )

    # --- one tool --------------------------------------------------------------------------------------------------

    def _bring(self, pointer: Pointer, followed: int | None) -> bool:
        """Write the tool, and return whether the folder has it, at the pointer's version."""
        name, database = pointer.tool_name, self._databases
        if self._is_remote(name) or not _has_file_name(name):
            return False
        present = self._folder.read(name)
        if present is None and followed is None:
            return False  # not a tool of this folder
        sha256 = None if present is None else digest(present)
        if sha256 == pointer.sha256:
            return True
        if followed is not None and followed >= pointer.deployment_id:
            return True  # it was there, and was changed by hand since
        if sha256 is not None and self._store.versions.find(name, sha256) is None:
            if followed is None:  # it is unknown which of the two is newer
                logger.info(
                    "%s: version %d is live, and the file here is no version yet; it becomes one when it is served",
                    name,
                    pointer.version_number,
                )
                return True
            keep_hand_edit(self._folder, self._store, name)
        version = self._store.versions.get(name, pointer.version_number)

        def swap() -> bool:
            if self._databases != database:
                raise _Again("the database was replaced at this moment")
            already = self.state.of(name)
            if already is not None and already >= pointer.deployment_id:
                return True  # another process of this machine was faster
            if self._folder.read(name) != present:
                raise _Again("its file changed at this moment")
            self._folder.swap(name, version.code)
            self.state.record({name: pointer.deployment_id}, replaced=sha256)
            wrote = self._wrote()
            if wrote is not None:
                wrote(name)
            logger.info(
                "%s: version %d went live on another machine, and is served here now", name, version.version_number
            )
            return True

        if not self._store.pointers.while_live(pointer, swap):
            raise _Again("another version went live at this moment")
        return True


class _Again(Exception):
    """Check again soon, because something moved at this moment."""


def _has_file_name(name: str) -> bool:
    try:
        checked_file_name(name)
    except InvalidToolName:  # recorded by another program, with a name that no file can have
        return False
    return True


# --- the thread ------------------------------------------------------------------------------------------------------


class _Run:
    """A thread and the event that ends it."""

    def __init__(self, moves: Moves) -> None:
        self.moves = moves
        self.stopping = threading.Event()
        self.checking = threading.RLock()
        """A lock held during a check, and by `stop` after it."""
        self.thread: threading.Thread | None = None
        self._again_at = 0.0

    @property
    def lives(self) -> bool:
        """Whether its thread runs, or cannot be started now."""
        if self.thread is None:
            return time.monotonic() < self._again_at
        return self.thread.is_alive()

    def start(self, thread: threading.Thread) -> None:
        """Start the thread. If the system allows none, this is logged, and tried again later."""
        try:
            thread.start()
        except RuntimeError as error:
            self._again_at = time.monotonic() + _LAST_RETRY
            logger.error("deployments on other machines are not followed, because no thread can be started: %s", error)
        else:
            self.thread = thread

    def stop(self) -> None:
        self.stopping.set()
        self.moves.interrupt()


def _follow(ours: weakref.ref[Replica], run: _Run) -> None:
    """Follow until the registry is gone; the thread does not keep it alive."""
    reported, pause = "", 0.0
    while not run.stopping.is_set():
        try:
            asked = run.moves.wait(pause)
            pause = _check(ours, run, asked=asked)
        except EXITS:
            raise
        except BaseException as error:
            if run.stopping.is_set():  # no caller waits for it any more
                break
            if isinstance(error, RollguardError) and str(error) != reported:
                logger.warning("deployments on other machines are not followed now: %s", error)
            elif not isinstance(error, RollguardError):
                logger.exception("deployments on other machines could not be followed")
            reported, pause = str(error), 0.0
            run.moves.close()  # so that the next check finds the same moves
            run.stopping.wait(_FIRST_RETRY)
        else:
            if reported:
                logger.info("deployments on other machines are followed again")
            reported = ""
    run.moves.close()


def _check(ours: weakref.ref[Replica], run: _Run, *, asked: bool) -> float:
    with run.checking:
        replica = ours()
        if replica is None or run.stopping.is_set():
            return 0.0
        if asked or replica.due():
            replica.catch_up(run.stopping)
        return replica.pause()


def _stop_at_exit(replica: Replica) -> None:
    """Finish the current write when the process ends, before logging stops."""
    ours = weakref.ref(replica)

    def end() -> None:
        present = ours()
        if present is not None:
            present.end()

    atexit.register(end)
    weakref.finalize(replica, atexit.unregister, end).atexit = False


_forks: weakref.WeakSet[Replica] = weakref.WeakSet()


def _after_fork() -> None:
    for replica in list(_forks):
        replica._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
