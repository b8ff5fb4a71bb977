"""What a request of OTLP holds, whatever its encoding: spans that may be calls of tools, links, exceptions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MARKS = {
    "gen_ai.tool.name": None,
    "gen_ai.operation.name": "execute_tool",
    "mcp.method.name": "tools/call",
    "rpc.method": "tools/call",
    "openinference.span.kind": "TOOL",
    "langfuse.observation.type": "tool",
    "logfire.msg_template": "Function: {name}",
}
"""Attributes of which each call of a tool has at least one, with this value; None for any."""
_NAMES = frozenset(_MARKS)

INTERNAL, SERVER, CLIENT = 1, 2, 3
ERROR = 2

Attributes = Mapping[str, Any]


class Resource(NamedTuple):
    """What sent some spans: its attributes, and its instrumentation scope with the scope's attributes."""

    attributes: Attributes
    scope: str
    scope_attributes: Attributes


class Failed(NamedTuple):
    """An exception as an event of a span or a log says it."""

    type: str | None
    message: str | None
    traceback: str | None


class Span(NamedTuple):
    """A span that may be a call of a tool. Ids are in hexadecimal, times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    status: int
    status_message: str
    exceptions: tuple[Failed, ...]
    trace_state: str
    resource: Resource


class Link(NamedTuple):
    """Any other span: what lies between the spans of one call."""

    trace_id: str
    span_id: str
    parent_id: str | None


class Logged(NamedTuple):
    """An exception that was logged within a span."""

    trace_id: str
    span_id: str
    failed: Failed


@dataclass(slots=True)
class Values:
    """Counts the values of one request: each takes up to some hundred bytes of memory."""

    left: int = 150_000

    def add(self, number: int) -> None:
        """Count some more. Raise `TooMuch` if they are too many."""
        self.left -= number
        if self.left < 0:
            raise TooMuch("the body has more spans, attributes and other values than are read at once; send fewer")


@dataclass(slots=True)
class Batch:
    """One request.

    Attributes:
        total: spans or log records in it.
        rejected: those that are none, such as one without an id.
        problem: what is wrong with the first of them.
    """

    spans: list[Span] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)
    total: int = 0
    rejected: int = 0
    problem: str = ""

    def reject(self, problem: str) -> None:
        """Count one that is not valid."""
        self.rejected += 1
        self.problem = self.problem or problem


class Malformed(ValueError):
    """The bytes are no request of OTLP."""


class TooMuch(Exception):
    """A request holds too many values."""


def may_be_call(attributes: Mapping[str, Any], read: Callable[[Any], Any]) -> bool:
    """Return whether a span may be of a call of a tool. Most are not, and nothing else of them is read.

    Args:
        read: returns a value of an attribute.
    """
    return any(_MARKS[name] in (None, read(attributes[name])) for name in _NAMES.intersection(attributes))


def failed_of(attributes: Attributes) -> Failed | None:
    """Return the exception that attributes describe; None if they describe none."""
    found = [attributes.get(f"exception.{name}") for name in ("type", "message", "stacktrace")]
    if found[0] is None and found[1] is None:
        return None
    return Failed(*(None if one is None else str(one) for one in found))
