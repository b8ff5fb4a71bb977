"""Classify how a call ended when it neither returned nor failed: given up by its caller, or for a framework."""

from __future__ import annotations

import asyncio
import inspect
import sys
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from rollguard.errors import InvalidInput

CONTROL_FLOW = (
    "langgraph.errors.GraphBubbleUp",
    "pydantic_ai.exceptions.ApprovalRequired",
    "pydantic_ai.exceptions.CallDeferred",
    "pydantic_ai.exceptions.ModelRetry",
)
"""Exceptions by which tools steer their framework: a pause, an approval, a retry that is asked for."""

_MOMENT = 1.0  # seconds in which one parent's cancellation reaches all of its calls
_LOOP_ENDS = frozenset({"_cancel_all_tasks", "cancel_all_tasks", "_cancel_tasks"})  # of asyncio, uvloop, aiohttp

_ending = False


def process_is_ending() -> None:
    """Remember that a signal ends this process: what its calls raise from now on is no fault of their tools."""
    global _ending  # noqa: PLW0603 - one for the process
    _ending = True


def ends_with_its_process() -> bool:
    """Return whether this process, or the event loop that runs the present task, is ending."""
    if _ending or sys.is_finalizing():
        return True
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in _LOOP_ENDS or code is asyncio.Runner.close.__code__:
            return True
        if code is asyncio.Runner.run.__code__:  # Ctrl-C cancels the main task
            return bool(getattr(frame.f_locals.get("self"), "_interrupt_count", 0))
        frame = frame.f_back  # type: ignore[assignment]
    return False


def was_given_up(error: BaseException) -> bool:
    """Return whether a call ended because its caller waits no longer."""
    if isinstance(error, GeneratorExit):
        return True
    if isinstance(error, asyncio.CancelledError):
        task = _task()
        return task is None or task.cancelling() > 0  # otherwise something inside the tool was cancelled
    return is_one_of(error, ("trio.Cancelled",))


def is_one_of(error: BaseException, paths: Sequence[str]) -> bool:
    """Return whether an exception is of one of these classes, by their import paths. It imports nothing."""
    return any(_class_at(path) in type(error).__mro__ for path in paths)


def checked_paths(paths: object) -> tuple[str, ...]:
    """Return import paths of exceptions as a tuple, or raise `InvalidInput`."""
    if isinstance(paths, str) or not isinstance(paths, Sequence) or not all(map(_is_path, paths)):
        raise InvalidInput(f"control_flow: {paths!r} is not a list of import paths, as langgraph.errors.GraphInterrupt")
    return tuple(paths)


def _is_path(path: object) -> bool:
    return isinstance(path, str) and "." in path and all(part.isidentifier() for part in path.split("."))


def _class_at(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, path)  # the path itself is no class


# --- one parent's cancellations --------------------------------------------------------------------------------------


class Parents:
    """Remembers whose cancellations were counted, so that those of one parent count once for each tool."""

    def __init__(self) -> None:
        self._recent: deque[tuple[str, Any, weakref.ref[Any], float]] = deque(maxlen=64)

    def first(self, tool_name: str, error: BaseException, clock: float) -> bool:
        """Return whether this is the first call of the tool that its parent's cancellation ended.

        Args:
            clock: the present moment in seconds, on a monotonic clock.
        """
        task = _task()
        parent = None if task is None else _cancelling_parent(error, task)
        if parent is None or task is None:
            return True
        for name, known, its_task, moment in tuple(self._recent):
            same = known == parent if isinstance(known, str) else known() is parent
            if same and name == tool_name and its_task() is not task and clock - moment < _MOMENT:
                return False
        known = parent if isinstance(parent, str) else weakref.ref(parent)
        self._recent.append((tool_name, known, weakref.ref(task), clock))
        return True


def _cancelling_parent(error: BaseException, task: asyncio.Task[Any]) -> Any:
    """Return what cancelled a task together with others: a scope, a group or a task; None if it is alone.

    The task's callbacks show who waits for it; asyncio has no other way to ask for that before Python 3.14.
    """
    message = error.args[0] if isinstance(error, asyncio.CancelledError) and error.args else None
    if isinstance(message, str) and "cancel scope" in message:  # of anyio, which names it
        return message.partition(";")[0]
    for callback, *_context in getattr(task, "_callbacks", None) or ():
        owner = getattr(callback, "__self__", None)
        if getattr(owner, "_aborting", False):  # a TaskGroup
            return owner
        if isinstance(owner, asyncio.Task) and owner.cancelling():
            return owner
        values = inspect.getclosurevars(callback).nonlocals.values() if inspect.isfunction(callback) else ()
        for value in values:
            if getattr(value, "_cancel_requested", False):  # the future of a gather
                return value
    return None


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop of asyncio runs here
        return None
