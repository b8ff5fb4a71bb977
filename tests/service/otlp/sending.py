"""Requests of OTLP as exporters write them, and what they become."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from starlette.testclient import TestClient

from rollguard import Rollguard
from rollguard.model.execution import Execution
from rollguard.service.otlp.routes import receiver_of
from tests.postgres import NOW

TRACE = "0af7651916cd43dd8448eb211c80319c"
START = int(NOW.timestamp()) * 10**9
MS = 10**6
INTERNAL, SERVER, CLIENT = 1, 2, 3
TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
MCP = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "search"}


@dataclass(frozen=True)
class Sent:
    """A span to send. Times are in milliseconds after `START`."""

    span: int
    parent: int | None = None
    attributes: dict[str, Any] = field(default_factory=lambda: dict(TOOL))
    kind: int = INTERNAL
    start: float = 0
    ms: float = 100
    error: str | None = None
    exception: tuple[str, str] | None = None
    name: str = "span"
    trace: str = TRACE
    scope: str = "agents"
    resource: dict[str, Any] = field(default_factory=lambda: {"service.name": "my-agent"})
    state: str = ""


def value(given: Any) -> AnyValue:
    """An attribute's value."""
    if isinstance(given, bool):
        return AnyValue(bool_value=given)
    if isinstance(given, int):
        return AnyValue(int_value=given)
    return AnyValue(double_value=given) if isinstance(given, float) else AnyValue(string_value=given)


def pairs(attributes: dict[str, Any]) -> Iterator[KeyValue]:
    """Attributes."""
    return (KeyValue(key=key, value=value(one)) for key, one in attributes.items())


def request(spans: Iterable[Sent]) -> ExportTraceServiceRequest:
    """A request with spans, each with its own resource and scope."""
    made = ExportTraceServiceRequest()
    for one in spans:
        group = made.resource_spans.add()
        group.resource.attributes.extend(pairs(one.resource))
        part = group.scope_spans.add()
        part.scope.name = one.scope
        span = part.spans.add(
            trace_id=bytes.fromhex(one.trace),
            span_id=one.span.to_bytes(8, "big"),
            name=one.name,
            kind=one.kind,
            start_time_unix_nano=START + int(one.start * MS),
            end_time_unix_nano=START + int((one.start + one.ms) * MS),
            trace_state=one.state,
        )
        if one.parent is not None:
            span.parent_span_id = one.parent.to_bytes(8, "big")
        span.attributes.extend(pairs(one.attributes))
        if one.error is not None or one.exception is not None:
            span.status.code, span.status.message = 2, one.error or ""
        if one.exception is not None:
            event = span.events.add(name="exception")
            event.attributes.extend(
                pairs(dict(zip(("exception.type", "exception.message"), one.exception, strict=True)))
            )
    return made


def as_json(made: ExportTraceServiceRequest) -> bytes:
    """The request in JSON as OTLP has it: ids in hexadecimal, enums as numbers."""

    def hexadecimal(found: Any) -> Any:
        if isinstance(found, list):
            return [hexadecimal(one) for one in found]
        if not isinstance(found, dict):
            return found
        import base64

        return {
            key: base64.b64decode(one).hex() if key in ("traceId", "spanId", "parentSpanId") else hexadecimal(one)
            for key, one in found.items()
        }

    return json.dumps(hexadecimal(MessageToDict(made, use_integers_for_enums=True))).encode()


def post(client: TestClient, *spans: Sent, media: str = "application/x-protobuf", **more: Any) -> Any:
    """Send spans in one request, which has to succeed; return the answer."""
    made = request(spans)
    body = made.SerializeToString() if media == "application/x-protobuf" else as_json(made)
    answer = client.post("/v1/traces", content=body, headers={"content-type": media} | more.pop("headers", {}))
    assert answer.status_code == 200, answer.text
    return answer


def recorded(guard: Rollguard, tool: str = "search") -> list[Execution]:
    """The executions of a tool, the oldest first."""
    return [*reversed(guard.store.listing.recent(tool))]


def outcomes(guard: Rollguard, tool: str = "search") -> list[tuple[bool, str | None]]:
    """Whether each execution succeeded, and the type of its error."""
    return [(one.success, one.error_type) for one in recorded(guard, tool)]


def in_any_order(spans: Sequence[Sent]) -> list[list[list[Sent]]]:
    """Each way to send some spans: in each order, all at once or each alone."""
    import itertools

    orders = [list(order) for order in itertools.permutations(spans)]
    return [*([order] for order in orders), *([[one] for one in order] for order in orders)]


def wait(client: TestClient, seconds: float = 11.0) -> int:
    """Let so many seconds pass for what waits; return how many calls were recorded then."""
    return receiver_of(client.app).record_due(datetime.now(UTC) + timedelta(seconds=seconds))  # type: ignore[arg-type]
