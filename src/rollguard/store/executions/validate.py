"""What each field of an execution may be, and what it is kept as. What cannot be meant raises `InvalidInput`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.store.database.types import utc
from rollguard.store.executions.ids import moment_of
from rollguard.store.executions.payloads import clean_text

_ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Warning|Timeout|Interrupt|Exit))\b")
FIELDS = (
    "tool_name",
    "success",
    "duration_ms",
    "error",
    "error_type",
    "parameters",
    "result",
    "executed_at",
    "version_number",
    "execution_id",
    "request_id",
)
KNOWN = frozenset(FIELDS)
LONGEST = 1e15  # milliseconds, some 30,000 years: a sum of durations stays a number that JSON has


def text_of(error: BaseException) -> str:
    """What an exception says of itself, even where it fails to."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a tool's own exception may fail to describe itself
        return f"<{type(error).__name__}: str failed with {second!r}>"


def checked_error(error: Any, error_type: Any) -> tuple[str | None, str | None]:
    """(error type, error) as they are kept; the type may be that of an exception, or the text may begin with it."""
    if isinstance(error, BaseException):
        error_type = error_type or type(error).__name__
        error = text_of(error)
    elif error is not None:
        error_type = error_type or _type_named_in(str(error))
    return (
        None if error_type is None else clean_text(str(error_type), 200),
        None if error is None else clean_text(str(error)),
    )


def _type_named_in(error: str) -> str | None:
    match = _ERROR_TYPE.match(error)
    return match.group(1).rpartition(".")[2] if match else None


def check_fields(execution: Mapping[str, Any]) -> None:
    """Whether an execution has no field that is unknown, and those that it needs."""
    if not KNOWN.issuperset(execution):
        unknown = sorted(set(execution) - KNOWN, key=str)
        raise InvalidInput(f"{unknown[0]}: unknown field of an execution; the known ones are {', '.join(FIELDS)}")
    for needed in ("tool_name", "success"):
        if needed not in execution:
            raise InvalidInput(f"{needed}: missing; an execution needs tool_name and success")


def checked_duration(value: object) -> float:
    """Milliseconds, 0 or more; at most `LONGEST`."""
    if type(value) is float and 0.0 <= value <= LONGEST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise InvalidInput(f"duration_ms: {value!r} is not a finite number of milliseconds, 0 to 10^15")
    return float(value)


def checked_moment(value: object) -> datetime:
    """A time in UTC; now for None."""
    if value is None:
        return datetime.now(UTC)
    if not isinstance(value, datetime):
        raise InvalidInput(f"executed_at: {value!r} is not a datetime")
    try:
        return value if value.tzinfo is UTC else utc(value)
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"executed_at: {value} is not a time between the years 1 and 9999 in UTC") from error


def moment_beside(execution_id: str, executed_at: object) -> datetime:
    """The time of an execution whose id is given: an id that Rollguard made holds it already."""
    held = moment_of(execution_id)
    if held is None:
        return checked_moment(executed_at)
    if executed_at is not None and checked_moment(executed_at) != held:
        raise InvalidInput(
            f"execution_id: {execution_id} is the id that Rollguard gave to an execution at {held.isoformat()}, not at "
            f"{executed_at}; give that time, or an id of your own"
        )
    return held


def checked_version(value: object) -> int:
    """A version's number: 1 or more, as far as the database counts."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise InvalidInput(f"version_number: {value!r} is not a version's number, 1 or more")
    return value
