"""Read requests of OTLP in protobuf. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rollguard.service.otlp.spans import (
    MARKS,
    Batch,
    Link,
    Logged,
    Malformed,
    Resource,
    Span,
    failed_of,
)

_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


def traces(body: bytes) -> Batch:
    """Return the spans of an `ExportTraceServiceRequest`.

    Raises:
        Malformed: it is none.
    """
    batch = Batch()
    for group in _parsed(ExportTraceServiceRequest(), body).resource_spans:
        resource = _attributes(group.resource.attributes)
        for part in group.scope_spans:
            spans = part.spans
            batch.total += len(spans)
            said = Resource(resource, part.scope.name, _attributes(part.scope.attributes))
            for span in spans:
                _add(batch, span, said)
    return batch


def logs(body: bytes) -> Batch:
    """Return the exceptions of an `ExportLogsServiceRequest` that were logged within spans.

    Raises:
        Malformed: it is none.
    """
    batch = Batch()
    for group in _parsed(ExportLogsServiceRequest(), body).resource_logs:
        for part in group.scope_logs:
            batch.total += len(part.log_records)
            for record in part.log_records:
                if len(record.trace_id) == len(_NO_TRACE) and len(record.span_id) == len(_NO_SPAN):
                    failed = failed_of(_attributes(record.attributes))
                    if failed is not None:
                        batch.logged.append(Logged(record.trace_id.hex(), record.span_id.hex(), failed))
    return batch


def _parsed(request: Any, body: bytes) -> Any:
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise Malformed(f"the body is no {type(request).__name__} in protobuf: {error}") from error
    return request


def _add(batch: Batch, span: Any, resource: Resource) -> None:
    trace, number, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace) != len(_NO_TRACE) or trace == _NO_TRACE or len(number) != len(_NO_SPAN) or number == _NO_SPAN:
        batch.reject(f"a span has the ids {trace.hex()!r} and {number.hex()!r}, not 16 and 8 bytes")
        return
    above = parent.hex() if parent and parent != _NO_SPAN else None
    attributes = {one.key: one.value for one in span.attributes}
    if MARKS.isdisjoint(attributes):
        batch.links.append(Link(trace.hex(), number.hex(), above))
        return
    exceptions = [failed_of(_attributes(event.attributes)) for event in span.events if event.name == "exception"]
    batch.spans.append(
        Span(
            trace.hex(),
            number.hex(),
            above,
            span.name,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            {key: _value(value) for key, value in attributes.items()},
            span.status.code,
            span.status.message,
            tuple(filter(None, exceptions)),
            span.trace_state,
            resource,
        )
    )


def _attributes(given: Iterable[Any]) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in given}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)
