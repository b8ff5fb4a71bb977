"""What a request of OTLP holds, whatever its encoding: spans that may be calls of tools, links, exceptions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MARKS = frozenset(
    (
        *("gen_ai.tool.name", "gen_ai.operation.name", "mcp.method.name", "rpc.method"),
        *("openinference.span.kind", "langfuse.observation.type", "logfire.msg_template"),
    )
)
"""Attributes of which each call of a tool has at least one."""

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


def failed_of(attributes: Attributes) -> Failed | None:
    """Return the exception that attributes describe; None if they describe none."""
    found = [attributes.get(f"exception.{name}") for name in ("type", "message", "stacktrace")]
    if found[0] is None and found[1] is None:
        return None
    return Failed(*(None if one is None else str(one) for one in found))
