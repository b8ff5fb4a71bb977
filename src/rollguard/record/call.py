"""One call of a tool, from its start to its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import CoroutineType
from typing import Any

from rollguard.judge import CONTROL_FLOW, GIVEN_UP, TIMED_OUT, WITHDRAWN
from rollguard.model.formatting import seconds
from rollguard.model.given import understood_number
from rollguard.model.log import logger_of
from rollguard.model.split import Ran
from rollguard.record import Recorder, current_tags, request_id
from rollguard.record.endings import ends_with_its_process, is_one_of, was_given_up
from rollguard.record.in_flight import Flight, Given
from rollguard.record.kept import KEPT, Kept
from rollguard.record.streams import is_stream, recorded_stream
from rollguard.sandbox.tool_file import describe

logger = logger_of(__name__)

_SHOWN = 500  # characters of a result in the error of a failure
_UNSHOWN = "a result that counts as a failure"

IsFailure = Callable[[Any], bool | str | None]
"""Whether a returned result is a failure: true, or the error's text, if it is one."""
Score = Callable[[Any], float | None]
"""How right a returned result is, from 0 to 1; None says nothing."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The tool or function that is called.

    Attributes:
        name: the tool name under which its calls are recorded.
        invoke: runs it.
        judges: each returns whether a returned result is a failure.
        is_async: whether it is declared async.
        kept: which of its parameters are recorded, and whether its results are.
        timeout_seconds: a call that runs longer is a failure; None sets no limit.
        score: returns how right a returned result is; None scores no result.
        holds: what has to live as long as a call of it.
        plain: whether a call that returns None is a success, whatever it took, without a score.
    """

    name: str
    invoke: Callable[..., Any]
    judges: tuple[IsFailure, ...] = ()
    is_async: bool = False
    kept: Kept = KEPT
    timeout_seconds: float | None = None
    score: Score | None = None
    holds: object = None
    plain: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", not self.judges and self.timeout_seconds is None and self.score is None)


class Call:
    """One call under way: its parameters, start, version and request. It ends once."""

    __slots__ = ("_began", "_clock", "_given", "_recorder", "_request", "_tags", "_version", "subject")

    def __init__(self, recorder: Recorder, subject: Subject, version: Ran, given: Given) -> None:
        self._recorder, self.subject, self._version, self._given = recorder, subject, version, given
        self._request, self._tags = request_id(), current_tags()
        self._began, self._clock = time.time(), time.perf_counter()

    @classmethod
    def of(cls, recorder: Recorder, clock: float, flight: Flight) -> Call:
        """Return the call that began at `clock`."""
        call = cls.__new__(cls)
        call._recorder, call._clock = recorder, clock
        call.subject, call._version, call._began, call._given, call._request, call._tags = flight
        return call

    def begin(self) -> None:
        """Start the call now."""
        self._began, self._clock = time.time(), time.perf_counter()
        self.fly()

    def fly(self) -> None:
        """Let the call be known as one that has not ended."""
        flight = (self.subject, self._version, self._began, self._given, self._request, self._tags)
        self._recorder.running[self._clock] = flight
        self._recorder.began(self.subject.timeout_seconds, self._version)

    def land(self) -> bool:
        """Take the call out of those in flight. Return False if it outlived its limit and is recorded by now."""
        if self._recorder.running.pop(self._clock, None) is not None:
            return True
        return not self._recorder.in_flight.ended_overdue(self._clock)

    def elapsed_ms(self) -> float:
        """Return how long the call has run, in milliseconds."""
        return (time.perf_counter() - self._clock) * 1000.0

    def returned(self, result: Any, duration_ms: float | None = None, *, keep: bool = True) -> None:
        """Record that the tool returned `result`, now or after `duration_ms`.

        Args:
            keep: False neither judges nor stores the result, such as that of a stream.
        """
        duration_ms = self.elapsed_ms() if duration_ms is None else duration_ms
        if not self.land():
            return
        name, judges, recorder, keeps = self.subject.name, self.subject.judges, self._recorder, self.subject.kept.result
        failure = failure_in(name, judges, recorder, result, kept=keeps) if judges and keep else None
        if failure is not None:
            failure = recorder.error_text(failure, self._given)
        error_type = None if failure is None else "ReturnedFailure"
        if failure is None and self._outlived(duration_ms):
            failure, error_type = self._over_limit(f"it returned after {seconds(duration_ms / 1000.0)}"), TIMED_OUT
        kept = recorder.encoded(name, "result", result) if keep and keeps and result is not None else None
        rated = self.subject.score if keep and failure is None else None
        self._note(duration_ms, failure, error_type, kept, rated and score_of(name, rated, recorder, result))

    def failed(self, error: BaseException, duration_ms: float | None = None) -> None:
        """Record that the tool raised `error`, now or after `duration_ms`: the one place that tells how it ended."""
        duration_ms = self.elapsed_ms() if duration_ms is None else duration_ms
        if not self.land():
            return
        kind, says = type(error).__name__, self._recorder.error_text(error, self._given)
        if is_one_of(error, self._recorder.control_flow):
            self._note(duration_ms, f"{kind}: {says}", CONTROL_FLOW, None)
        elif isinstance(error, Exception | SystemExit):
            self._note(duration_ms, says, kind, None, place=self._recorder.place(error, self._given))
        elif was_given_up(error):
            self._given_up(error, duration_ms)
        elif isinstance(error, asyncio.CancelledError):  # something inside the tool was cancelled, not the call
            self._note(duration_ms, says, kind, None)

    def _given_up(self, error: BaseException, duration_ms: float) -> None:
        if ends_with_its_process():
            return
        after = f"after {seconds(duration_ms / 1000.0)}"
        if not self._recorder.parents.first(self.subject.name, error, time.monotonic()):
            self._note(duration_ms, f"cancelled {after} together with another call", WITHDRAWN, None)
        elif self._outlived(duration_ms):
            self._note(duration_ms, self._over_limit(f"its caller gave up {after}"), TIMED_OUT, None)
        elif self.subject.timeout_seconds is None:
            self._note(duration_ms, f"its caller gave up {after}", GIVEN_UP, None)
        else:
            self._note(duration_ms, f"its caller gave up {after}, within timeout_seconds", WITHDRAWN, None)

    def _outlived(self, duration_ms: float) -> bool:
        limit = self.subject.timeout_seconds
        return limit is not None and duration_ms > limit * 1000.0

    def _over_limit(self, says: str) -> str:
        return f"{says}; timeout_seconds is {self.subject.timeout_seconds:g}"

    def _note(
        self,
        duration_ms: float | None,
        error: str | None,
        error_type: str | None,
        result: str | None,
        score: float | None = None,
        place: tuple[str | None, ...] = (),
    ) -> None:
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
                score,
                *place,
            )
        )


def run(
    recorder: Recorder,
    subject: Subject,
    version: Ran,
    given: Given,
    args: tuple[Any, ...],
    parameters: dict[str, Any],
    finish: Callable[[Call, Coroutine[Any, Any, Any]], Any],
) -> Any:
    """Run a subject and record the call. A call that returns None takes the fastest path.

    Args:
        recorder: records the call.
        subject: what is called.
        version: the version that runs, if it is known.
        given: the parameters to store, as `Recorder.given` returns them before the call, which may change them.
        args: positional arguments.
        parameters: keyword arguments, of this call alone.
        finish: called with a coroutine that the subject returned, before it runs.
    """
    running, request, tags = recorder.running, request_id(), current_tags()
    began, clock = time.time(), time.perf_counter()
    running[clock] = flight = (subject, version, began, given, request, tags)
    if recorder.resting:
        recorder.began(subject.timeout_seconds, version)
    try:
        result = subject.invoke(*args, **parameters)
    except BaseException as error:
        duration_ms = (time.perf_counter() - clock) * 1000.0
        Call.of(recorder, clock, flight).failed(error, duration_ms)
        raise
    duration_ms = (time.perf_counter() - clock) * 1000.0
    if result is None and subject.plain:
        running.pop(clock, None)  # without a limit, nobody else takes it out
        recorder.note(
            (subject.name, True, duration_ms, None, None, given, None, began, version, None, request, tags, None)
        )
        return None
    call = Call.of(recorder, clock, flight)
    if isinstance(result, CoroutineType):
        call.land()  # it runs when it is awaited
        return finish(call, result)
    if is_stream(result):
        call.land()
        return recorded_stream(call, result)
    call.returned(result, duration_ms)
    return result


async def awaited(call: Call, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await the coroutine of a call and record how it ended."""
    call.begin()
    try:
        result = await coroutine
    except BaseException as error:
        call.failed(error)
        raise
    if is_stream(result):
        call.land()
        return recorded_stream(call, result)
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
            found = is_failure(result)
            failed = bool(found)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the tool's code; its caller must get the result
            said = recorder.error_text(describe(error), None)
            logger.error("is_failure of %s raised %s", name, said)
            return f"is_failure raised {said}"
        if failed:
            if isinstance(found, str):
                return str.__str__(found)
            return f"returned {_shown(recorder, name, result) if kept else _UNSHOWN}"
    return None


def score_of(name: str, score: Score, recorder: Recorder, result: Any) -> float | None:
    """Return the score of a returned result; None if the tool's function gives none, or none from 0 to 1."""
    try:
        found = understood_number(score(result))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the tool's code; its caller must get the result
        logger.error("score of %s raised %s", name, recorder.error_text(describe(error), None))
        return None
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        logger.error("score of %s returned %s, which is not a number from 0 to 1", name, type(found).__name__)
        return None
    return float(found)


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
