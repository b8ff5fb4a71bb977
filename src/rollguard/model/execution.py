"""Executions of tools: what one is, declared once, from the call to the row in the database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Annotated, Any, NamedTuple, get_type_hints

from pydantic import FailFast, Field, GetPydanticSchema, PlainValidator, Strict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from rollguard.errors import InvalidInput
from rollguard.model.failed_at import frame_text
from rollguard.model.given import (
    understood_duration,
    understood_id,
    understood_number,
    understood_time,
    understood_truth,
)
from rollguard.model.names import checked_id, checked_tool_name
from rollguard.model.split import Arm
from rollguard.model.tags import tags_text

# Pydantic takes whatever has `__float__`, even nanoseconds of numpy as milliseconds.
_PLAIN_NUMBER = GetPydanticSchema(
    lambda source, handler: core_schema.chain_schema(
        [core_schema.is_instance_schema((int, float, type(None))), handler(source)]
    )
)
LONGEST = 1e15  # milliseconds, some 30,000 years: a sum of durations stays a number that JSON has


def checked_moment(value: object) -> datetime:
    """Return a moment in UTC. A naive datetime is local time, as everywhere in Python.

    Raises:
        InvalidInput: it is no datetime, or none that UTC has.
    """
    if not isinstance(value, datetime):
        raise InvalidInput(f"executed_at: {value!r} is not a datetime, nor a time in ISO 8601")
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidInput(f"executed_at: {value} is not a time between the years 1 and 9999 in UTC") from error


def _checked_arm(value: object) -> str | None:
    if value is not None and value not in tuple(Arm):
        raise InvalidInput(f'arm: {value!r} is not "new" or "old"')
    return None if value is None else str(value)


class Execution(NamedTuple):
    """One call of a tool. Its fields are the columns of `tool_executions`, and what programs give to record a call.

    It is a tuple because that takes a sixth of the time of a frozen dataclass to make, and drivers take it as it is. A
    text beside a type says what is allowed, for the message about a value that is not.

    Attributes:
        tool_name: 1 to 255 printable characters.
        success: whether the call succeeded.
        duration_ms: how long it took, in milliseconds.
        error: what went wrong, as text; until it is `complete`, also the exception.
        error_type: the error's type.
        parameters: what the tool was called with, as JSON; until it is `complete`, any value.
        result: what it returned, in the same way.
        executed_at: when the call began, in UTC.
        version_number: the version that ran; None counts by time.
        execution_id: the id of this call: the caller's, or one that Rollguard makes.
        request_id: what the call was made for.
        tags: the caller's own tags, as JSON; given as a mapping.
        score: how right the answer was, from 0 to 1.
        failed_at: the innermost line of the tool's own code in the traceback, as JSON of function, line and text.
        traceback: the traceback's text, cut and redacted.
        rollout_id: the rollout in which the call was given to one of two versions by chance; None if there was none.
        stage: the stage at whose share it was.
        arm: which of the two versions was drawn, `new` or `old`.
    """

    tool_name: Annotated[str, PlainValidator(checked_tool_name)]
    success: Annotated[bool, Strict(), "True or False"]
    duration_ms: Annotated[
        float | None,
        Field(strict=True, ge=0, le=LONGEST, allow_inf_nan=False),
        _PLAIN_NUMBER,
        "a finite number of milliseconds, 0 to 10^15",
    ] = None
    error: Any = None
    error_type: Any = None
    parameters: Any = None
    result: Any = None
    executed_at: Annotated[datetime, PlainValidator(checked_moment)] | None = None
    version_number: Annotated[int | None, Field(strict=True, ge=1, lt=2**31), "a version's number, 1 or more"] = None
    execution_id: Annotated[str, PlainValidator(partial(checked_id, "execution_id"))] | None = None
    request_id: Annotated[str, PlainValidator(partial(checked_id, "request_id"))] | None = None
    tags: Annotated[str | None, PlainValidator(tags_text)] | None = None
    score: Annotated[
        float | None,
        Field(strict=True, ge=0, le=1, allow_inf_nan=False),
        _PLAIN_NUMBER,
        "a number from 0 to 1",
    ] = None
    failed_at: Annotated[str | None, PlainValidator(frame_text)] | None = None
    traceback: Annotated[str | None, Field(strict=True), "text"] = None
    rollout_id: Annotated[int | None, Field(strict=True, ge=1, lt=2**31), "a rollout's number, 1 or more"] = None
    stage: Annotated[int | None, Field(strict=True, ge=0, lt=2**31), "a stage's number, 0 or more"] = None
    arm: Annotated[str | None, PlainValidator(_checked_arm)] = None


Columns = tuple[Sequence[Any], ...]
"""Some executions, field by field: `FIELDS[0]` of each, `FIELDS[1]` of each, ..."""

FIELDS = Execution._fields
AT, ID = FIELDS.index("executed_at"), FIELDS.index("execution_id")
_NEEDED = [name for name in FIELDS if name not in Execution._field_defaults]
_UNDERSTOOD: dict[str, Callable[[Any], Any]] = {
    "success": understood_truth,
    "duration_ms": understood_duration,
    "score": understood_number,
    "executed_at": understood_time,
    "version_number": understood_number,
    "rollout_id": understood_number,
    "stage": understood_number,
    "execution_id": understood_id,
    "request_id": understood_id,
}
_HINTS = get_type_hints(Execution, include_extras=True)
_ALLOWED = {name: hint.__metadata__[-1] for name, hint in _HINTS.items() if hasattr(hint, "__metadata__")}


def checked(executions: Sequence[Mapping[str, Any]]) -> Columns:
    """Return executions given as mappings of their fields, each value checked and not yet `complete`.

    Columns are checked in two thirds of the time of rows. Rows are checked to say what is wrong.

    Raises:
        InvalidInput: a field is unknown, missing or invalid; the message names it, `number` which execution it is.
    """
    given: Sequence[Any] = executions
    if not all(issubclass(kind, Mapping) for kind in set(map(type, executions))):
        # pydantic would take a list as the values of the fields, in their order
        given = [one if isinstance(one, Mapping) else None for one in executions]
    try:
        columns = columns_given(given)
        found = checked_exactly(tuple([] if isinstance(column, _Nothing) else column for column in columns))
        return tuple(
            column if isinstance(column, _Nothing) else one for column, one in zip(columns, found, strict=True)
        )
    except (TypeError, KeyError, ValidationError):  # one is invalid, or has to be understood
        given = [_understood(one) if isinstance(one, Mapping) else one for one in given]
    try:
        return columns_of(_rows().validate_python(given))
    except ValidationError as error:
        raise _refusal(error, executions) from error


def checked_exactly(columns: Columns) -> Columns:
    """Return executions given field by field, each value checked; none of another type is understood.

    Raises:
        ValueError: a value is invalid, or of another type.
    """
    return _columns().validate_python(columns)


def columns_of(executions: Iterable[Execution]) -> Columns:
    """Return the values of some executions, field by field."""
    return tuple(zip(*executions, strict=True))


class _Nothing(list[None]):
    """A column that none of the executions has: there is nothing to check."""


def columns_given(executions: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the values of executions given as mappings, field by field; None where one is left out.

    Raises:
        TypeError, KeyError: one of them is no mapping, has an unknown field or lacks one that it needs.
    """
    names = set().union(*executions)
    if not names.issubset(FIELDS):
        raise TypeError
    nothing = _Nothing([None] * len(executions))
    return tuple(
        [one[name] for one in executions]
        if name in _NEEDED
        else [one.get(name) for one in executions]
        if name in names
        else nothing
        for name in FIELDS
    )


def _understood(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Return an execution with the values of other types whose meaning is certain, such as `timedelta` and numpy's."""
    return {
        name: _UNDERSTOOD[name](value) if name in _UNDERSTOOD and value is not None else value
        for name, value in execution.items()
    }


# Made when they are first used: most commands check no execution, and begin sooner without them. A fork waits until one
# is made, because its child would wait for ever for the lock that pydantic holds meanwhile.
_making = threading.RLock()
os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


@cache
def _columns() -> TypeAdapter[Columns]:
    each: Any = tuple(Annotated[list[_HINTS[name]], FailFast()] for name in FIELDS)  # type: ignore[valid-type]
    with _making:
        return TypeAdapter(tuple[each])


@cache
def _rows() -> TypeAdapter[list[Execution]]:
    with _making:
        return TypeAdapter(Annotated[list[Execution], FailFast()])


def _refusal(error: ValidationError, executions: Sequence[Any]) -> InvalidInput:
    """Say what is wrong with the first wrong execution; a field that is unknown may be why another one is missing."""
    problem = min(error.errors(include_url=False), key=lambda one: (one["loc"][0], one["loc"][-1] in FIELDS))
    place, *inside = problem["loc"]
    value, known = problem["input"], ", ".join(FIELDS)
    if not inside:
        refusal = InvalidInput(f"{executions[int(place)]!r} is not an execution; give a mapping of {known}")
    elif (field := inside[0]) not in FIELDS:
        refusal = InvalidInput(f"{field}: unknown field of an execution; the known ones are {known}")
    elif problem["type"].startswith("missing"):
        refusal = InvalidInput(f"{field}: missing; an execution needs {' and '.join(_NEEDED)}")
    elif isinstance(own := problem.get("ctx", {}).get("error"), InvalidInput):
        refusal = own
    else:
        refusal = InvalidInput(f"{field}: {value!r} is not {_ALLOWED[str(field)]}")
    refusal.number = int(place) + 1
    return refusal


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution, as an investigation reads it."""

    tool_name: str
    execution_id: str | None
    executed_at: datetime
    version_number: int | None
    error_type: str | None
    error: str | None
    parameters: str | None
    failed_at: str | None = None
