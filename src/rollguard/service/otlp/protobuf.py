"""Read requests of OTLP in protobuf. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ProtobufResource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtobufSpan

from rollguard.service.otlp import wire
from rollguard.service.otlp.spans import (
    Batch,
    Link,
    Logged,
    Malformed,
    Resource,
    Span,
    Values,
    failed_of,
    may_be_call,
)

_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


def traces(body: bytes) -> Batch:
    """Return the spans of an `ExportTraceServiceRequest`.

    Raises:
        Malformed: it is none.
        TooMuch: it holds too many values.
    """
    batch, values = Batch(), Values()
    for resource, span in _items(body, "span", values):
        batch.total += 1
        _add(batch, _parsed(ProtobufSpan, span), resource, values)
    return batch


def logs(body: bytes) -> Batch:
    """Return the exceptions of an `ExportLogsServiceRequest` that were logged within spans.

    Raises:
        Malformed: it is none.
        TooMuch: it holds too many values.
    """
    batch, values = Batch(), Values()
    for _resource, item in _items(body, "record", values):
        batch.total += 1
        record = _parsed(LogRecord, item)
        if len(record.trace_id) == len(_NO_TRACE) and len(record.span_id) == len(_NO_SPAN):
            failed = failed_of(_attributes(record.attributes, values))
            if failed is not None:
                batch.logged.append(Logged(record.trace_id.hex(), record.span_id.hex(), failed))
    return batch


_FIRST, _ITEMS = 1, 2  # fields of the messages that hold groups, scopes and items: what all are of, and each of them


def _items(body: bytes, kind: str, values: Values) -> Iterator[tuple[Resource, memoryview]]:
    """Yield the bytes of each span or log record, and what sent it. They are parsed one by one."""
    for number, group in wire.held(memoryview(body)):
        if number != _FIRST:
            continue
        values.add(1)
        attributes = _attributes(_parsed(ProtobufResource, _of_all(group, "resource", values)).attributes, values)
        for number_in_group, part in wire.held(group):
            if number_in_group != _ITEMS:
                continue
            values.add(1)
            scope = _parsed(InstrumentationScope, _of_all(part, "scope", values))
            said = Resource(attributes, scope.name, _attributes(scope.attributes, values))
            for number_in_part, item in wire.held(part):
                if number_in_part == _ITEMS:
                    values.add(1)
                    wire.count(item, kind, values)
                    yield said, item


def _of_all(part: memoryview, kind: str, values: Values) -> memoryview:
    """Return what is said of all items in a part of the request."""
    said = next((content for number, content in wire.held(part) if number == _FIRST), memoryview(b""))
    wire.count(said, kind, values)
    return said


def _parsed(kind: Any, content: memoryview) -> Any:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Malformed(f"the body is not of OTLP in protobuf: {error}") from error


def _add(batch: Batch, span: Any, resource: Resource, values: Values) -> None:
    trace, number, parent = span.trace_id, span.span_id, span.parent_span_id
    if len(trace) != len(_NO_TRACE) or trace == _NO_TRACE or len(number) != len(_NO_SPAN) or number == _NO_SPAN:
        batch.reject(f"a span has the ids {trace.hex()!r} and {number.hex()!r}, not 16 and 8 bytes")
        return
    above = parent.hex() if parent and parent != _NO_SPAN else None
    attributes = {one.key: one.value for one in span.attributes}
    if not may_be_call(attributes, lambda value: value.string_value):
        batch.links.append(Link(trace.hex(), number.hex(), above))
        return
    values.add(len(attributes))
    exceptions = [
        failed_of(_attributes(event.attributes, values)) for event in span.events if event.name == "exception"
    ]
    batch.spans.append(
        Span(
            trace.hex(),
            number.hex(),
            above,
            span.name,
            span.kind,
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            {key: _value(value, values) for key, value in attributes.items()},
            span.status.code,
            span.status.message,
            tuple(filter(None, exceptions)),
            span.trace_state,
            resource,
        )
    )


def _attributes(given: Any, values: Values) -> dict[str, Any]:
    values.add(len(given))
    return {one.key: _value(one.value, values) for one in given}


def _value(value: Any, values: Values) -> Any:
    if text := value.string_value:  # most are
        return text
    kind = value.WhichOneof("value")
    if kind == "array_value":
        values.add(len(value.array_value.values))
        return [_value(one, values) for one in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, values)
    if kind == "bytes_value":
        return b64encode(value.bytes_value).decode()
    return None if kind is None else getattr(value, kind)
