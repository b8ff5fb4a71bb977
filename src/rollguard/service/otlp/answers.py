"""Answer as OTLP/HTTP asks for: in the encoding of the request, with what was not taken. Pure."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_CODES = {400: 3, 401: 16, 403: 7, 413: 8, 415: 3, 429: 8, 503: 14}  # of gRPC
_UNKNOWN = 2


def accepted(media_type: str, rejected: int, message: str, *, logs: bool = False) -> bytes:
    """Return the body of a successful answer; what was not taken is in `partial_success`."""
    if media_type == JSON:
        count = "rejectedLogRecords" if logs else "rejectedSpans"
        said: dict[str, Any] = {count: str(rejected)} if rejected else {}
        partial = {**said, "errorMessage": message} if rejected or message else None
        return json.dumps({} if partial is None else {"partialSuccess": partial}).encode()
    answer = ExportLogsServiceResponse() if logs else ExportTraceServiceResponse()
    if rejected or message:
        answer.partial_success.error_message = message
        if isinstance(answer, ExportLogsServiceResponse):
            answer.partial_success.rejected_log_records = rejected
        else:
            answer.partial_success.rejected_spans = rejected
    return bytes(answer.SerializeToString())


def refused(media_type: str, status: int, message: str) -> bytes:
    """Return the body of a refusal: a `google.rpc.Status` with a code and a message."""
    code = _CODES.get(status, _UNKNOWN)
    if media_type == JSON:
        return json.dumps({"code": code, "message": message}).encode()
    text = message.encode()
    return bytes([0x08, code, 0x12]) + _varint(len(text)) + text


def _varint(number: int) -> bytes:
    found = []
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
