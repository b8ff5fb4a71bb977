"""Read executions from a body: JSON or JSON lines, row by row, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal, Required

from pydantic import ConfigDict, FailFast, Field, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import from_json
from typing_extensions import TypedDict

from rollguard.model.execution import LONGEST
from rollguard.model.failed_at import frame_text
from rollguard.model.names import MAX_NAME
from rollguard.model.tags import MOST, checked_tags
from rollguard.service.problems import Refused

JSON = "application/json"
LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
MOST_VALUES = 300_000  # values in one body: each takes up to some hundred bytes of memory when it is read
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


@cache
def _one() -> TypeAdapter[Row]:
    return TypeAdapter(Row)


@cache
def _many() -> TypeAdapter[list[Row]]:
    return TypeAdapter(Annotated[list[Row], FailFast()])


def read_rows(body: bytes, content_type: str, most: int) -> list[Row | Bad]:
    """Return the rows of a body, each valid by its types, or what is wrong with it.

    Raises:
        Refused: it is not JSON or JSON lines, holds no row or too many, or is too large to be read.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if (kind != JSON and kind not in LINES) or ("charset=" in charset and "charset=utf-8" not in charset):
        raise Refused(415, f"Content-Type: send {JSON} or {LINES[0]}, in UTF-8", {"Accept": ", ".join((JSON, *LINES))})
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > MOST_VALUES:
        raise Refused(413, f"the body has more than {MOST_VALUES:,} values; send it in parts", {"Connection": "close"})
    return _of_json(body, most) if kind == JSON else _of_lines(body, most)


def _of_json(body: bytes, most: int) -> list[Row | Bad]:
    if body.lstrip()[:1] == b"[":
        try:
            return _limited(list(_many().validate_json(body)), most)
        except ValidationError:
            pass  # read it again, to say which rows are wrong
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {_short(error)}") from None
    rows = _limited(given if isinstance(given, list) else [given], most)
    return [_checked(row) for row in rows]


def _of_lines(body: bytes, most: int) -> list[Row | Bad]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    return [_of_line(line) for line in _limited(lines, most)]


def _of_line(line: bytes) -> Row | Bad:
    try:
        return _one().validate_json(line)
    except ValidationError:
        pass  # read it again, to say what is wrong
    try:
        return _checked(from_json(line, allow_inf_nan=False))
    except ValueError as error:
        return Bad(f"it is not JSON: {_short(error)}")


def _checked(row: Any) -> Row | Bad:
    try:
        return _one().validate_python(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    own = row.get("execution_id") if isinstance(row, dict) else None
    return Bad(_short(f"{where}: {said}" if where else said), own if isinstance(own, str) else None)


def _limited(rows: list[Any], most: int) -> list[Any]:
    if len(rows) > most:
        raise Refused(413, f"{len(rows):,} rows are too many; send at most {most:,} at once")
    if not rows:
        raise Refused(422, "the body holds no execution; send a list of objects, or one object a line")
    return rows


def _short(text: object) -> str:
    return str(text)[:_SHOWN]
