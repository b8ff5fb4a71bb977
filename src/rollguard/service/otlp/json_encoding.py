"""Read requests of OTLP in JSON, as exporters write it: ids in hexadecimal or base64, large numbers as texts. Pure."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

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

_HEX = re.compile(r"[0-9a-fA-F]+")
_TRACE, _SPAN = 32, 16  # hexadecimal digits
_KINDS = {f"SPAN_KIND_{name}": number for number, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT"))}
_STATUS = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_WRONG = (TypeError, ValueError, AttributeError, KeyError, OverflowError)


def traces(body: bytes) -> Batch:
    """Return the spans of an `ExportTraceServiceRequest`.

    Raises:
        Malformed: it is none.
        TooMuch: it holds too many values.
    """
    batch = Batch()
    for resource, scope, spans in _parts(body, "resourceSpans", "scopeSpans", "spans"):
        said = Resource(resource, *scope)
        batch.total += len(spans)
        for span in spans:
            try:
                _add(batch, span, said)
            except _WRONG as error:
                batch.reject(f"a span is not of the form that OTLP has: {error}")
    return batch


def logs(body: bytes) -> Batch:
    """Return the exceptions of an `ExportLogsServiceRequest` that were logged within spans.

    Raises:
        Malformed: it is none.
        TooMuch: it holds too many values.
    """
    batch = Batch()
    for _resource, _scope, records in _parts(body, "resourceLogs", "scopeLogs", "logRecords"):
        batch.total += len(records)
        for record in records:
            try:
                trace, span = _id(record.get("traceId"), _TRACE), _id(record.get("spanId"), _SPAN)
                failed = failed_of(_attributes(record.get("attributes"))) if trace and span else None
            except _WRONG as error:
                batch.reject(f"a log record is not of the form that OTLP has: {error}")
            else:
                if failed is not None and trace and span:
                    batch.logged.append(Logged(trace, span, failed))
    return batch


def _parts(
    body: bytes, groups: str, parts: str, items: str
) -> Iterator[tuple[dict[str, Any], tuple[str, dict[str, Any]], list[Any]]]:
    """Yield the attributes of each resource, its scopes and their items."""
    Values().add(body.count(b",") + body.count(b"[") + body.count(b"{"))
    try:
        whole = from_json(body)
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    try:
        for group in whole.get(groups) or ():
            resource = _attributes((group.get("resource") or {}).get("attributes"))
            for part in group.get(parts) or ():
                scope = part.get("scope") or {}
                found = part.get(items) or []
                if not isinstance(found, list):
                    raise TypeError(f"{items} is no list")
                yield resource, (scope.get("name") or "", _attributes(scope.get("attributes"))), found
    except _WRONG as error:
        raise Malformed(f"the body is no request of OTLP in JSON: {error}") from error


def _add(batch: Batch, span: Any, resource: Resource) -> None:
    trace, number = _id(span["traceId"], _TRACE), _id(span["spanId"], _SPAN)
    if trace is None or number is None:
        raise ValueError("its ids are empty")
    above = _id(span.get("parentSpanId"), _SPAN)
    attributes = {one["key"]: one.get("value") for one in span.get("attributes") or ()}
    if not may_be_call(attributes, _value):
        batch.links.append(Link(trace, number, above))
        return
    status = span.get("status") or {}
    exceptions = [
        failed_of(_attributes(event.get("attributes")))
        for event in span.get("events") or ()
        if event.get("name") == "exception"
    ]
    batch.spans.append(
        Span(
            trace,
            number,
            above,
            str(span.get("name", "")),
            _number(span.get("kind", 0), _KINDS),
            int(span.get("startTimeUnixNano", 0)),
            int(span.get("endTimeUnixNano", 0)),
            {key: _value(value) for key, value in attributes.items()},
            _number(status.get("code", 0), _STATUS),
            str(status.get("message", "")),
            tuple(filter(None, exceptions)),
            str(span.get("traceState", "")),
            resource,
        )
    )


def _id(given: Any, digits: int) -> str | None:
    """Return an id in hexadecimal; None for no id."""
    if not given:
        return None
    if len(given) != digits or not _HEX.fullmatch(given):
        given = b64decode(given, validate=True).hex()  # as protobuf's own JSON has it
        if len(given) != digits:
            raise ValueError(f"the id {given!r} is not of {digits // 2} bytes")
    return None if not given.strip("0") else str(given).lower()


def _number(given: Any, names: dict[str, int]) -> int:
    return names[given] if given in names else int(given)


def _attributes(given: Iterable[Any] | None) -> dict[str, Any]:
    return {one["key"]: _value(one.get("value")) for one in given or ()}


def _value(value: Any) -> Any:
    if not value:
        return None
    kind, held = next(iter(value.items()))
    if kind == "intValue":
        return int(held)
    if kind == "doubleValue":
        return float(held)
    if kind == "arrayValue":
        return [_value(one) for one in held.get("values") or ()]
    if kind == "kvlistValue":
        return _attributes(held.get("values"))
    return held
