"""One call of a tool, from its start to its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

from rollguard.model.log import logger_of
from rollguard.record import Recorder, current_tags, request_id
from rollguard.record.kept import KEPT, Kept
from rollguard.sandbox.tool_file import describe

logger = logger_of(__name__)

_SHOWN = 500  # characters of a result in the error of a failure
_UNSHOWN = "a result that counts as a failure"

IsFailure = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Subject:
    """The tool or function that is called.

    Attributes:
        name: the tool name under which its calls are recorded.
        invoke: runs it.
        judges: each returns whether a returned result is a failure.
        is_async: whether it is declared async.
        kept: which of its parameters are recorded, and whether its results are.
    """

    name: str
    invoke: Callable[..., Any]
    judges: tuple[IsFailure, ...] = ()
    is_async: bool = False
    kept: Kept = KEPT


class Call:
    """One call under way: its parameters, start, version and request."""

    __slots__ = ("_began", "_clock", "_given", "_recorder", "_request", "_tags", "_version", "subject")

    def __init__(self, recorder: Recorder, subject: Subject, version: int | None, given: str | None) -> None:
        self._recorder, self.subject, self._version, self._given = recorder, subject, version, given
        self._request, self._tags = request_id(), current_tags()
        self.begin()

    def begin(self) -> None:
        """Start the call now."""
        self._began, self._clock = time.time(), time.perf_counter()

    def began_at(self, began: float, clock: float) -> None:
        """Set when the call started: in seconds since 1970, and on the clock that measures durations."""
        self._began, self._clock = began, clock

    def returned(self, result: Any, duration_ms: float | None = None) -> None:
        """Record that the tool returned `result`, now or after `duration_ms`."""
        if duration_ms is None:
            duration_ms = (time.perf_counter() - self._clock) * 1000.0
        name, judges, recorder, keeps = self.subject.name, self.subject.judges, self._recorder, self.subject.kept.result
        failure = failure_in(name, judges, recorder, result, kept=keeps) if judges else None
        if failure is not None:
            failure = recorder.error_text(failure, self._given)
        kept = None if result is None or not keeps else recorder.encoded(name, "result", result)
        self._note(duration_ms, failure, None if failure is None else "ReturnedFailure", kept)

    def failed(self, error: BaseException, duration_ms: float | None = None) -> None:
        """Record that the tool raised `error`, now or after `duration_ms`."""
        if duration_ms is None:
            duration_ms = (time.perf_counter() - self._clock) * 1000.0
        self._note(duration_ms, self._recorder.error_text(error, self._given), type(error).__name__, None)

    def _note(self, duration_ms: float, error: str | None, error_type: str | None, result: str | None) -> None:
        self._recorder.note(
            (
                self.subject.name,
                error_type is None,
                duration_ms,
                error,
                error_type,
                self._given,
                result,
                self._began,
                self._version,
                None,
                self._request,
                self._tags,
            )
        )


def run(
    recorder: Recorder,
    subject: Subject,
    version: int | None,
    given: str | None,
    args: tuple[Any, ...],
    parameters: dict[str, Any],
    finish: Callable[[Call, Coroutine[Any, Any, Any]], Any],
) -> Any:
    """Run a subject and record the call. A call that returns None takes the fastest path.

    Args:
        recorder: records the call.
        subject: what is called.
        version: the version that runs, if it is known.
        given: the encoded parameters to store. They are encoded before the call, which may change them.
        args: positional arguments.
        parameters: keyword arguments.
        finish: called with a coroutine that the subject returned, before it runs.
    """
    began, clock = time.time(), time.perf_counter()
    try:
        result = subject.invoke(*args, **parameters)
    except (Exception, SystemExit) as error:
        duration_ms = (time.perf_counter() - clock) * 1000.0
        call = Call(recorder, subject, version, given)
        call.began_at(began, clock)
        call.failed(error, duration_ms)
        raise
    duration_ms = (time.perf_counter() - clock) * 1000.0
    if result is None and not subject.judges:
        made_for, tags = request_id(), current_tags()
        recorder.note((subject.name, True, duration_ms, None, None, given, None, began, version, None, made_for, tags))
        return None
    call = Call(recorder, subject, version, given)
    call.began_at(began, clock)
    if isinstance(result, CoroutineType):
        return finish(call, result)
    call.returned(result, duration_ms)
    return result


async def awaited(call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await the coroutine of a call and record its result. A cancelled call is neither success nor failure."""
    call.begin()
    try:
        result = await coroutine
    except (Exception, SystemExit) as error:
        call.failed(error)
        raise
    call.returned(result)
    return result


def awaited_here(call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run the coroutine in an event loop of its own.

    Raises:
        RuntimeError: an event loop runs already, so the caller has to await the call.
    """
    if in_event_loop():
        coroutine.close()
        raise needs_acall(call.subject.name)
    return asyncio.run(awaited(call, coroutine))


def failure_in(
    name: str, judges: tuple[IsFailure, ...], recorder: Recorder, result: Any, *, kept: bool = True
) -> str | None:
    """Return why a returned result is a failure, with the result as it is stored; None if it is none."""
    for is_failure in judges:
        try:
            failed = bool(is_failure(result))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the tool's code; its caller must get the result
            said = recorder.error_text(describe(error), None)
            logger.error("is_failure of %s raised %s", name, said)
            return f"is_failure raised {said}"
        if failed:
            return f"returned {_shown(recorder, name, result) if kept else _UNSHOWN}"
    return None


def _shown(recorder: Recorder, name: str, result: Any) -> str:
    """Return a result for an error message: as it is stored, redacted or left out, and shortened."""
    text = "null" if result is None else recorder.encoded(name, "result", result) or _UNSHOWN
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


async def run_in_thread(invoke: Callable[..., Any], parameters: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """Run a tool in a thread, so that the event loop stays free. Return its result, or its exception."""

    def run() -> tuple[Any, BaseException | None]:
        try:
            return invoke(**parameters), None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - handed over as a value: a future takes no StopIteration
            return None, error

    return await asyncio.to_thread(run)


def needs_acall(tool_name: str) -> RuntimeError:
    """Return the error for `call` of an async tool while an event loop runs."""
    return RuntimeError(f"{tool_name} is async: use 'await registry.acall({tool_name!r}, ...)'")


def in_event_loop() -> bool:
    """Return whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
