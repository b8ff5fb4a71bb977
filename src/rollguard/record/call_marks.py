"""Mark calls in flight on disk, so that a call that ends its process is found and counted as a failure."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import stat
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import CoroutineType
from typing import Any

from rollguard.model.execution import Execution
from rollguard.model.file_access import FileAccess
from rollguard.model.log import logger_of
from rollguard.model.split import Arm, Drawn, Ran
from rollguard.model.tags import tags_text
from rollguard.record.call import in_event_loop
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.request import request_id
from rollguard.record.tags import current_tags
from rollguard.store import id_of

logger = logger_of(__name__)

_SLOT, _SLOTS = 2048, 256  # bytes of a mark, and calls of a process that are marked at the same time
_FREE = b"\n"
_ALWAYS = 1_000  # calls of a version in a process that are marked in any case
_QUICK = 1e-3  # seconds; calls of a tool that takes less on average are marked no more: a mark takes microseconds
_RIGHT_AFTER = 0.1  # seconds from the start of a call to its mark, at most
_ERROR = "the process that ran this call ended during it: it was killed, ran out of memory, or the tool ended it"


class CallMarks:
    """One file for each process that calls tools, with a slot for each call in flight. Its lock shows that it lives.

    The first calls of a version are always marked, and so are all calls of a tool that takes a millisecond or more.

    Args:
        directory: the folder of the files; created at the first call.
        access: who may read the files.
    """

    def __init__(self, directory: Path, access: FileAccess = FileAccess.OWNER) -> None:
        self._directory = directory
        self._access = access
        self._file: _File | None = None
        self._opening = threading.Lock()
        renew_after_fork(self, "_opening", threading.Lock)
        _all.add(self)

    def marked(
        self,
        tool_name: str,
        invoke: Callable[..., Any],
        version_of: Callable[[], Ran],
        retire: Callable[[], None],
        *,
        is_async: bool,
    ) -> Callable[..., Any]:
        """Return `invoke`, wrapped so that its calls are marked.

        Args:
            tool_name: the tool.
            invoke: runs it with keyword arguments.
            version_of: returns the version that runs.
            retire: called when the calls need no marks any more, to call `invoke` itself from then on.
            is_async: whether `invoke` is declared async. If it is not, but returns a coroutine inside an event loop,
                the registry refuses the call and closes the coroutine.
        """
        calls, seconds, clock = 0, 0.0, time.perf_counter

        def marking(**parameters: Any) -> Any:
            nonlocal calls, seconds
            slot, began = self._begin(tool_name, version_of()), clock()
            try:
                result = invoke(**parameters)
            finally:
                self._end(slot)
                calls, seconds = calls + 1, seconds + clock() - began
            if isinstance(result, CoroutineType):
                return later(result) if is_async or not in_event_loop() else result
            if calls == _ALWAYS and seconds / calls < _QUICK:
                retire()
            return result

        async def later(coroutine: Coroutine[Any, Any, Any]) -> Any:
            slot = self._begin(tool_name, version_of())
            try:
                return await coroutine
            finally:
                self._end(slot)

        return marking

    def _begin(self, tool_name: str, version: Ran) -> tuple[_File, int] | None:
        file = self._file
        if file is None:
            with self._opening:
                file = self._file = self._file or _File(self._directory, self._access)
        try:
            slot = file.free.pop()
        except IndexError:  # too many calls at once, or the folder cannot be written
            return None
        request = request_id()  # JSON by hand, because the encoder takes longer than the rest
        made_for = "null" if request is None else json.dumps(request, ensure_ascii=False)
        mark = f'[{time.time()!r},"{tool_name}",{_ran(version)},{made_for}'
        if not file.write(slot, _line(mark, current_tags())):
            return None
        return file, slot

    def _end(self, mark: tuple[_File, int] | None) -> None:
        if mark is not None:
            file, slot = mark
            if file.write(slot, _FREE):
                file.free.append(slot)

    def settle(self, tool_name: str, began: float) -> None:
        """Free the mark of a call that is recorded already, so that it does not count again if its process ends.

        Args:
            began: when the call began, in seconds since 1970; its mark was made right after that.
        """
        file = self._file
        if file is None:
            return
        marks = [(moment - began, slot) for slot, name, moment in file.marks() if name == tool_name]
        later, slot = min(((after, slot) for after, slot in marks if after >= 0), default=(math.inf, 0))
        if later < _RIGHT_AFTER:
            file.write(slot, _FREE)

    def collect(self, deliver: Callable[[list[Execution]], object]) -> int:
        """Record the calls in flight of processes that are gone, each once, and remove their files.

        Args:
            deliver: stores executions, or keeps them for later.

        Returns:
            Number of such calls.
        """
        found = 0
        try:
            paths = sorted(self._directory.glob("*.marks"))
        except OSError as error:
            logger.warning("%s cannot be read: %s", self._directory, error)
            return 0
        for path in paths:
            try:
                with _of_a_dead_process(path) as content:
                    if content is None:
                        continue
                    rows = list(_calls_in(path.name, content))
                    if rows:
                        logger.warning("%d calls ended their process: %s", len(rows), {row.tool_name for row in rows})
                        deliver(rows)
                    path.unlink()
                    found += len(rows)
            except OSError as error:  # one file stops no other
                logger.warning("%s cannot be read: %s", path, error)
        return found

    def close(self) -> None:
        """Remove this process's file, because the process ends well. The next call begins a new one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _forget(self) -> None:
        """Leave the file to the parent process, in a forked child."""
        file, self._file = self._file, None
        if file is not None:
            file.leave()


class _File:
    """The file of a process. It is removed when the process ends well, or nobody needs it any more."""

    def __init__(self, directory: Path, access: FileAccess) -> None:
        self.descriptor, self._inode = -1, -1
        self.free: list[int] = []
        try:
            access.make_folder(directory.parent)
            access.make_folder(directory)
            self._open(directory, access)
        except OSError as error:
            logger.info(
                "calls that end this process are not recorded, because %s cannot be written: %s", directory, error
            )

    def _open(self, directory: Path, access: FileAccess) -> None:
        path = directory / f"{os.getpid()}-{uuid.uuid4().hex}.marks"
        hidden = path.with_suffix(".new")  # found by nobody before it is locked
        self.descriptor = access.create(hidden, os.O_RDWR)
        self._inode = os.fstat(self.descriptor).st_ino
        self._end = weakref.finalize(self, _remove, self.descriptor, self._inode, path)  # also at the process's end
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        os.pwrite(self.descriptor, json.dumps({"boot": _boot()}).encode() + b"\n", 0)
        hidden.replace(path)
        self.free = list(range(_SLOTS - 1, 0, -1))

    def write(self, slot: int, content: bytes) -> bool:
        """Write a slot, and return whether it was written: not on a full disk, or after a tool closed the file."""
        try:
            if os.fstat(self.descriptor).st_ino == self._inode:  # otherwise the descriptor is somebody else's file now
                return os.pwrite(self.descriptor, content, slot * _SLOT) == len(content)
        except OSError:
            pass
        return False

    def marks(self) -> Iterator[tuple[int, str, float]]:
        """Yield (slot, tool name, start) of each call that is marked now."""
        with contextlib.suppress(OSError):
            content = os.pread(self.descriptor, _SLOT * _SLOTS, 0)
            for slot in range(1, len(content) // _SLOT + 1):
                line = content[slot * _SLOT : (slot + 1) * _SLOT].partition(b"\n")[0].strip(b"\0")
                with contextlib.suppress(ValueError, TypeError):
                    began, tool_name, _version, _request = json.loads(line)
                    yield slot, tool_name, began

    def close(self) -> None:
        if self.descriptor != -1:
            self.free.clear()
            self._end()

    def leave(self) -> None:
        if self.descriptor != -1:
            self._end.detach()
            os.close(self.descriptor)


def _remove(descriptor: int, inode: int, path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_ino == inode:
            os.close(descriptor)


@contextlib.contextmanager
def _of_a_dead_process(path: Path) -> Iterator[bytes | None]:
    """Yield the content of a file whose process is gone, locked; None if it lives or another process reads it."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            yield None
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        taken = os.fstat(descriptor).st_nlink == 0  # removed by another process, before this one had the lock
        yield None if taken else os.pread(descriptor, _SLOT * _SLOTS, 0)
    finally:
        os.close(descriptor)


def _calls_in(name: str, content: bytes) -> Iterator[Execution]:
    """Yield the calls that were in flight. A restart of the machine is no failure of a tool, so then there are none."""
    try:
        if json.loads(content.partition(b"\n")[0])["boot"] != _boot():
            return
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    for start in range(_SLOT, len(content), _SLOT):
        line = content[start : start + _SLOT].partition(b"\n")[0].strip(b"\0")
        if not line:
            continue
        try:
            began, tool_name, version, request, *more = json.loads(line)
            moment = datetime.fromtimestamp(began, UTC)
            identity = hashlib.sha256(f"{name}:{start}:{began}".encode()).digest()
            yield Execution(
                tool_name=str(tool_name),
                success=False,
                error=_ERROR,
                error_type="ProcessEnded",
                executed_at=moment,
                **_version_in(version),
                execution_id=id_of(moment, int.from_bytes(identity[:8], "big")),
                request_id=None if request is None else str(request),
                tags=tags_text(more[0]) if more else None,
            )
        except (ValueError, TypeError, OverflowError, OSError, RecursionError):
            logger.warning("a mark of a call in %s is damaged and is skipped", name)


def _ran(version: Ran) -> str:
    """Return the version that runs as JSON; with its arm if it was drawn."""
    if isinstance(version, Drawn):
        return f'[{version.version},{version.rollout_id},{version.stage},"{version.arm}"]'
    return "null" if version is None else str(version)


def _version_in(marked: Any) -> dict[str, Any]:
    """Return the version that ran as fields of an execution."""
    if not isinstance(marked, list):
        return {"version_number": None if marked is None else int(marked)}
    version, rollout_id, stage, arm = marked
    return {"version_number": int(version), "rollout_id": int(rollout_id), "stage": int(stage), "arm": str(Arm(arm))}


def _line(mark: str, tags: str | None) -> bytes:
    """Return the line of a mark; without its tags if it would not fit into a slot."""
    line = f"{mark},{tags}]\n".encode("utf-8", "replace") if tags is not None else b""
    return line if 0 < len(line) <= _SLOT else f"{mark}]\n".encode("utf-8", "replace")


def _boot() -> str:
    """Return what changes with each start of the machine; empty if the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


_all: weakref.WeakSet[CallMarks] = weakref.WeakSet()


def remove_all() -> None:
    """Remove the marks of this process before a signal ends it: its calls do not fail by their own fault."""
    for marks in list(_all):
        marks.close()


def _after_fork() -> None:
    for marks in list(_all):
        marks._forget()


os.register_at_fork(after_in_child=_after_fork)
