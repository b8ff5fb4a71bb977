"""Read executions from a body of JSON or JSON lines, a part at a time, so that few values are in memory at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from io import BytesIO
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import from_json
from typing_extensions import TypedDict

from rollguard.model.execution import AT, FIELDS, LONGEST, Columns, columns_given
from rollguard.model.failed_at import frame_text
from rollguard.model.names import MAX_NAME
from rollguard.model.tags import MOST, checked_tags
from rollguard.service.problems import Refused

JSON = "application/json"
LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
MOST_VALUES = 150_000  # values that are read together: each takes up to some hundred bytes of memory
_PART, _ROWS = 131_072, 200  # bytes and rows that are read together, about
# Where a part of a list may end. Whether it does is known when it is read: what ends within a row is no list.
_BETWEEN = re.compile(rb'\}\s*,(?=\s*\{\s*"(?:%s)")' % "|".join(FIELDS).encode())
_TEXTS, _PLACES = (FIELDS.index("error"), FIELDS.index("error_type")), FIELDS.index("failed_at")
_SHOWN = 200  # characters of a problem's text


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("give a time in ISO 8601, such as 2026-03-01T12:00:00Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("this is not a time in ISO 8601, such as 2026-03-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("name the time's zone, as in 2026-03-01T12:00:00Z")
    return moment


Moment = Annotated[datetime, PlainValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Id = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


# Each of these finds one error at most, however many a hostile value holds: errors take more memory than values.


def _tags(value: object) -> object:
    checked_tags(value)
    return value


def _place(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("give an object of function, line and text")
    frame_text(value)
    return value


_TAGS_SCHEMA = {
    "type": "object",
    "maxProperties": MOST,
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_PLACE_SCHEMA = {
    "type": "object",
    "properties": {
        "function": {"type": "string"},
        "line": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "text": {"type": "string"},
    },
    "required": ["function", "line", "text"],
    "additionalProperties": False,
}
Tags = Annotated[Any, PlainValidator(_tags), WithJsonSchema(_TAGS_SCHEMA)]
Place = Annotated[Any, PlainValidator(_place), WithJsonSchema(_PLACE_SCHEMA)]


class Row(TypedDict, total=False):
    """One call of a tool. `null` is the same as a field that is left out."""

    # What is unknown is refused by `Executions.rows`, with one error for all of it.
    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    tool_name: Required[Annotated[str, Field(min_length=1, max_length=MAX_NAME, description="the tool")]]
    success: Required[Annotated[bool, Field(description="whether the call succeeded")]]
    duration_ms: Annotated[
        float | None, Field(ge=0, le=LONGEST, allow_inf_nan=False, description="how long it took, in milliseconds")
    ]
    error: Annotated[str | None, Field(description="what went wrong")]
    error_type: Annotated[str | None, Field(description="the error's type, if `error` does not begin with it")]
    parameters: Annotated[Any, Field(description="what the tool was called with")]
    result: Annotated[Any, Field(description="what it returned")]
    executed_at: Annotated[Moment | None, Field(description="when the call began, with its zone; now by default")]
    version_number: Annotated[int | None, Field(ge=1, lt=2**31, description="the version that ran")]
    execution_id: Annotated[Id | None, Field(description="the caller's id of this call; it is stored once")]
    request_id: Annotated[Id | None, Field(description="what the call was made for; retries share it")]
    tags: Annotated[Tags | None, Field(description="at most 16 of the caller's own, 1,024 bytes of JSON in all")]
    score: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False, description="how right the answer was")]
    failed_at: Annotated[Place | None, Field(description="where it failed")]
    traceback: Annotated[str | None, Field(description="the traceback's text")]
    rollout_id: Annotated[int | None, Field(ge=1, lt=2**31, description="the rollout in which the call was drawn")]
    stage: Annotated[int | None, Field(ge=0, lt=2**31, description="the stage at whose share it was")]
    arm: Annotated[Literal["new", "old"] | None, Field(description="which of the two versions was drawn")]


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that is no execution, and why."""

    problem: str
    execution_id: str | None = None


def parts_of(body: bytes, content_type: str, most: int) -> Iterator[list[Any]]:
    """Yield the values of a body, some at a time; in the place of a line that is no JSON, what is wrong with it.

    Raises:
        Refused: it is not JSON or JSON lines, holds no value or too many, or is too large to be read.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if (kind != JSON and kind not in LINES) or ("charset=" in charset and "charset=utf-8" not in charset):
        raise Refused(415, f"Content-Type: send {JSON} or {LINES[0]}, in UTF-8", {"Accept": ", ".join((JSON, *LINES))})
    number = 0
    try:
        for part in _of_json(body) if kind == JSON else _of_lines(body):
            number += len(part)
            if number > most:
                raise Refused(413, f"the body has more than {most:,} rows; send it in parts")
            yield part
    except _NotJson as error:
        raise Refused(400, f"{error.detail}{f', counted from row {number}' if number else ''}") from None
    if not number:
        raise Refused(422, "the body holds no execution; send a list of objects, or one object a line")


def _of_json(body: bytes) -> Iterator[list[Any]]:
    """Yield the values of a list, or the one value of a body."""
    begin, size = len(body) - len(body.lstrip()), _PART
    if body[begin : begin + 1] != b"[":
        yield [_values(body)]
        return
    begin += 1
    while (end := _BETWEEN.search(body, begin + size)) is not None:
        try:
            part = _values(b"[%b]" % body[begin : end.start() + 1])
        except _NotJson:  # it may end within a row
            size *= 2
        else:
            yield part
            begin, size = end.end(), _PART
    if last := _values(b"[" + body[begin:]):
        yield last


class _NotJson(Refused):
    pass


def _values(text: bytes) -> Any:
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MOST_VALUES:
        said = f"the body has more than {MOST_VALUES:,} values in one row, or near each other; send it in parts"
        raise Refused(413, said, {"Connection": "close"})
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise _NotJson(400, f"the body is not JSON: {_short(error)}") from None


def _of_lines(body: bytes) -> Iterator[list[Any]]:
    part, size = list[Any](), 0
    for line in BytesIO(body):
        if line.isspace():
            continue
        size += len(line)
        if part and (size > _PART or len(part) == _ROWS):
            yield part
            part, size = [], len(line)
        try:
            part.append(_values(line) if size > _PART else from_json(line, allow_inf_nan=False))
        except (_NotJson, ValueError) as error:
            part.append(Bad(f"it is not JSON: {_short(getattr(error, 'detail', error))}"))
    if part:
        yield part


def given_exactly(values: Sequence[Any]) -> Columns:
    """Return rows field by field, if none of them has an unknown field, or a value that other checks would let pass.

    Raises:
        TypeError, KeyError, ValueError: one of them is no row; `checked_row` says what is wrong.
    """
    columns = list(columns_given(values))
    if not all(_kinds(columns[place]) <= {str, type(None)} for place in _TEXTS):
        raise TypeError
    if not _kinds(columns[_PLACES]) <= {dict, type(None)}:
        raise TypeError
    columns[AT] = [None if value is None else _moment(value) for value in columns[AT]]
    return tuple(columns)


def _kinds(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


@cache
def _one() -> TypeAdapter[Row]:
    return TypeAdapter(Row)


def checked_row(value: Any) -> Row | Bad:
    """Return a row that is valid by its types, or what is wrong with it."""
    if isinstance(value, Bad):
        return value
    try:
        return _one().validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    own = value.get("execution_id") if isinstance(value, dict) else None
    return Bad(_short(f"{where}: {said}" if where else said), own if isinstance(own, str) else None)


def _short(text: object) -> str:
    return str(text)[:_SHOWN]
