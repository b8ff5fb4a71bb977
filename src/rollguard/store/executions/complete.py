"""Complete executions: convert the given values to the stored ones, and fill in the missing ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.model.execution import AT, FIELDS, ID, Execution
from rollguard.store.executions.ids import moment_of, new_id
from rollguard.store.executions.payloads import Payloads, Redacted, clean_text

_ERROR, _TYPE = FIELDS.index("error"), FIELDS.index("error_type")
_PARAMETERS, _RESULT = FIELDS.index("parameters"), FIELDS.index("result")
_ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Timeout|Interrupt|Exit))\b")


def complete(given: Execution, payloads: Payloads) -> Execution:
    """Return a checked execution as it is stored: with an id, a time, an error as text and payloads as JSON.

    Raises:
        InvalidInput: Rollguard gave that id to an execution at another time.
    """
    values: list[Any] = list(given)
    error, error_type, moment = values[_ERROR], values[_TYPE], values[AT]
    if values[_PARAMETERS] is not None:
        values[_PARAMETERS] = payloads.encode(given.tool_name, "parameters", values[_PARAMETERS])
    if error is not None or error_type is not None:
        values[_TYPE], text = _kept_error(error, error_type)
        values[_ERROR] = None if text is None else clean_text(payloads.error(text, values[_PARAMETERS]))
    if type(values[_PARAMETERS]) is Redacted:
        values[_PARAMETERS] = str(values[_PARAMETERS]) or None
    if values[_RESULT] is not None:
        values[_RESULT] = payloads.encode(given.tool_name, "result", values[_RESULT])
    if given.execution_id is not None:
        values[AT] = _moment_beside(given.execution_id, moment)
    else:
        if moment is None:
            values[AT] = moment = datetime.now(UTC)
        values[ID] = new_id(moment)
    return Execution._make(values)


def complete_call(noted: Sequence[Any]) -> Execution:
    """Return the execution of a call that Rollguard recorded itself: encoded already, and without a check.

    Args:
        noted: the fields of an `Execution`, in their order, with `executed_at` in seconds since 1970.
    """
    values = list(noted)
    if values[_TYPE] is not None:
        values[_TYPE] = clean_text(values[_TYPE], 200)
    if values[_ERROR] is not None:
        values[_ERROR] = clean_text(values[_ERROR])
    if type(values[_PARAMETERS]) is Redacted:
        values[_PARAMETERS] = str(values[_PARAMETERS]) or None
    values[AT] = moment = datetime.fromtimestamp(values[AT], UTC)
    values[ID] = new_id(moment)
    return Execution._make(values)


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


def _moment_beside(execution_id: str, executed_at: datetime | None) -> datetime:
    """Return the time of an execution with a given id; an id of Rollguard contains it."""
    held = moment_of(execution_id)
    if held is None:
        return executed_at or datetime.now(UTC)
    if executed_at is not None and executed_at != held:
        raise InvalidInput(
            f"execution_id: {execution_id} is the id that Rollguard gave to an execution at {held.isoformat()}, not at "
            f"{executed_at}; give that time, or an id of your own"
        )
    return held
