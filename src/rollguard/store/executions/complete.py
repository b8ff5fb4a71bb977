"""Complete executions: convert the given values to the stored ones, and fill in the missing ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from rollguard.errors import InvalidInput
from rollguard.model.execution import AT, FIELDS, ID, Columns, Execution
from rollguard.model.failed_at import LONGEST, frame_of, frame_text, shortened, where_failed
from rollguard.model.split import Drawn
from rollguard.sandbox.outcome import Frame
from rollguard.store.executions.ids import moment_of, new_id, new_ids
from rollguard.store.executions.payloads import Payloads, Redacted, clean_text

_ERROR, _TYPE, _PARAMETERS = FIELDS.index("error"), FIELDS.index("error_type"), FIELDS.index("parameters")
_VERSION, _ROLLOUT = FIELDS.index("version_number"), FIELDS.index("rollout_id")
_ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Timeout|Interrupt|Exit))\b")


def complete(columns: Columns, payloads: Payloads) -> Columns:
    """Return checked executions as they are stored: with an id, a time, an error as text and payloads as JSON.

    Raises:
        InvalidInput: Rollguard gave that id to an execution at another time; `number` tells which execution it is.
    """
    tools, successes, durations, errors, types, parameters, results, moments, versions, ids, *others = columns
    *as_given, frames, tracebacks, rollouts, stages, arms = others
    _check_drawn(rollouts, stages, arms)
    given = payloads.encode_each(tools, "parameters", parameters)
    texts, kinds = list(errors), list(types)
    for number in _failed(errors, types):
        kinds[number], text = _kept_error(errors[number], types[number])
        texts[number] = None if text is None else clean_text(payloads.error(text, given[number]))
    frames, tracebacks = _places(errors, given, (frames, tracebacks), payloads)
    ids, moments = _placed(ids, moments)
    return (
        tools,
        successes,
        durations,
        texts,
        kinds,
        [(str(text) or None) if type(text) is Redacted else text for text in given],
        payloads.encode_each(tools, "result", results),
        moments,
        versions,
        ids,
        *as_given,
        frames,
        tracebacks,
        rollouts,
        stages,
        arms,
    )


def _failed(*columns: Sequence[Any]) -> list[int]:
    """Return the places at which one of the columns has a value: those of failures, which are few."""
    places = {place for column in columns for place, one in enumerate(column) if one is not None}
    return sorted(places)


def _placed(ids: Sequence[str | None], moments: Sequence[datetime | None]) -> tuple[Sequence[str], Sequence[datetime]]:
    """Return the ids and the times of executions, made where none is given."""
    if None not in moments and ids == [None] * len(ids):
        return new_ids(cast("Sequence[datetime]", moments))
    timed = [
        moment or datetime.now(UTC) if execution_id is None else _moment_beside(execution_id, moment, number)
        for number, (execution_id, moment) in enumerate(zip(ids, moments, strict=True), start=1)
    ]
    return [execution_id or new_id(moment) for execution_id, moment in zip(ids, timed, strict=True)], timed


def _check_drawn(*drawn: Sequence[Any]) -> None:
    """Raise `InvalidInput` if an execution has only a part of what says that its version was drawn."""
    if all(list(column) == [None] * len(column) for column in drawn):
        return
    for number, one in enumerate(zip(*drawn, strict=True), start=1):
        if None in one and one != (None, None, None):
            refusal = InvalidInput("rollout_id, stage and arm: give all three, or none of them")
            refusal.number = number
            raise refusal


def complete_call(noted: Sequence[Any], payloads: Payloads) -> Execution:
    """Return the execution of a call that Rollguard recorded itself, without a check.

    Args:
        noted: the fields of an `Execution`, in their order, with `executed_at` in seconds since 1970; those of failures
            alone may be left out. Payloads are encoded already, but for simple parameters. The version may be `Drawn`.
    """
    values = list(Execution(*noted))
    if type(drawn := values[_VERSION]) is Drawn:
        values[_VERSION] = drawn.version
        values[_ROLLOUT:] = drawn.rollout_id, drawn.stage, str(drawn.arm)
    if values[_TYPE] is not None:
        values[_TYPE] = clean_text(values[_TYPE], 200)
    if values[_ERROR] is not None:
        values[_ERROR] = clean_text(values[_ERROR])
    parameters = values[_PARAMETERS]
    if type(parameters) is dict:
        values[_PARAMETERS] = payloads.encode(values[0], "parameters", parameters)
    elif type(parameters) is Redacted:
        values[_PARAMETERS] = str(parameters) or None
    values[AT] = moment = datetime.fromtimestamp(values[AT], UTC)
    values[ID] = new_id(moment)
    return Execution._make(values)


def stored_place(
    failed_at: Frame | str | None, traceback: str | None, given: object, payloads: Payloads
) -> tuple[str | None, str | None]:
    """Return where a call failed as it is stored: the frame as JSON, the traceback redacted and cut."""
    frame = frame_of(failed_at) if isinstance(failed_at, str) else failed_at
    if frame is not None:
        failed_at = frame_text(replace(frame, text=clean_text(payloads.error(frame.text, given))))
    kept = None if traceback is None else clean_text(shortened(payloads.error(traceback, given)), 2 * LONGEST)
    return (failed_at if isinstance(failed_at, str) else None), kept


def _places(
    errors: Sequence[Any], given: Sequence[str | None], where: Sequence[Sequence[Any]], payloads: Payloads
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    """Return where each call failed: as it was given, else as its exception says."""
    frames, tracebacks = list(where[0]), list(where[1])
    for number in _failed(errors, *where):
        error = errors[number]
        frame, text = where_failed(error) if isinstance(error, BaseException) else (None, None)
        frames[number], tracebacks[number] = stored_place(
            frames[number] or frame, tracebacks[number] or text, given[number], payloads
        )
    return frames, tracebacks


def text_of(error: BaseException) -> str:
    """Return an exception's message, or a placeholder if `str` fails on it."""
    try:
        return str.__str__(str(error))  # the second one makes a plain string of a tool's own kind
    except (Exception, SystemExit) as second:  # noqa: BLE001 - a tool's own exception may fail to describe itself
        return f"<{type(error).__name__}: str failed with {type(second).__name__}>"


def _kept_error(error: Any, error_type: Any) -> tuple[str | None, str | None]:
    """Return (error type, error's text). The type is given, the exception's, or named in the text."""
    if isinstance(error, BaseException):
        error_type = error_type or type(error).__name__
        error = text_of(error)
    elif error is not None:
        error_type = error_type or _type_named_in(str(error))
    return (
        None if error_type is None else clean_text(str(error_type), 200),
        None if error is None else str(error),
    )


def _type_named_in(error: str) -> str | None:
    match = _ERROR_TYPE.match(error)
    return match.group(1).rpartition(".")[2] if match else None


def _moment_beside(execution_id: str, executed_at: datetime | None, number: int) -> datetime:
    """Return the time of an execution with a given id; an id of Rollguard contains it."""
    held = moment_of(execution_id)
    if held is None:
        return executed_at or datetime.now(UTC)
    if executed_at is not None and executed_at != held:
        refusal = InvalidInput(
            f"execution_id: {execution_id} is the id that Rollguard gave to an execution at {held.isoformat()}, not at "
            f"{executed_at}; give that time, or an id of your own"
        )
        refusal.number = number
        raise refusal
    return held
