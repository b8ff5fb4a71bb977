"""OTLP/HTTP as exporters and collectors speak it: protobuf, JSON, gzip, partial success, refusals that end retries."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.testclient import TestClient

from rollguard import Rollguard
from rollguard.errors import StoreUnavailable
from rollguard.service.otlp.answers import JSON, PROTOBUF, refused
from tests.service.conftest import client_of
from tests.service.otlp.sending import MCP, START, TOOL, Sent, as_json, outcomes, pairs, post, recorded, request, wait
from tests.service.otlp.serving import served

CALL = Sent(
    1, None, {**TOOL, "gen_ai.tool.call.arguments": '{"q": "x", "api_key": "s3cret"}', "n": 2**60, "f": 0.5, "b": True}
)


def test_protobuf_and_json_say_the_same(guard: Rollguard) -> None:
    """The same span in protobuf, in JSON, and in JSON with base64 ids is one execution, redacted as any other."""
    with client_of(guard) as client:
        post(client, CALL)
        post(client, CALL, media=JSON)
        body = json.loads(as_json(request([CALL])))
        span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        for name in ("traceId", "spanId"):
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
        span["kind"], span["status"] = "SPAN_KIND_INTERNAL", {"code": "STATUS_CODE_UNSET"}
        answer = client.post(
            "/v1/traces",
            content=gzip.compress(json.dumps(body).encode()),
            headers={"content-type": f"{JSON}; charset=utf-8", "content-encoding": "gzip"},
        )
        assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, JSON)
        (row,) = recorded(guard)
    assert (row.success, row.duration_ms) == (True, 100.0)
    assert '"q":"x"' in str(row.parameters)
    assert "s3cret" not in str(row.parameters)


@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_what_is_no_span_is_counted_as_rejected(here: TestClient, sqlite_guard: Rollguard, media: str) -> None:
    """A span without an id, without a time, or of a name that no tool has is rejected; the others are recorded."""
    bad = [
        replace(CALL, span=0),
        replace(CALL, span=2, start=-START / 1e6),
        replace(CALL, span=3, attributes={**TOOL, "gen_ai.tool.name": "x" * 300}),
    ]
    answer = post(here, *bad, CALL, media=media)
    if media == JSON:
        said = answer.json()["partialSuccess"]
        number, message = int(said["rejectedSpans"]), said["errorMessage"]
    else:
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
        number, message = partial.rejected_spans, partial.error_message
    assert number == 3
    assert "span" in message
    assert len(recorded(sqlite_guard)) == 1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff\xff", {"content-type": PROTOBUF}, 400),
        (b"{", {"content-type": JSON}, 400),
        (b"[]", {"content-type": JSON}, 400),
        (b'{"resourceSpans": 5, "resourceLogs": [{"scopeLogs": [{"logRecords": 5}]}]}', {"content-type": JSON}, 400),
        (b"x" * 200, {"content-type": "text/plain"}, 415),
        (b"no gzip", {"content-type": PROTOBUF, "content-encoding": "gzip"}, 400),
        (gzip.compress(bytes(40_000_000), mtime=0), {"content-type": PROTOBUF, "content-encoding": "gzip"}, 413),
    ],
)
def test_refusals_end_retries(here: TestClient, body: bytes, headers: dict[str, str], status: int) -> None:
    """What will never be taken gets a status on which no exporter tries again."""
    for path in ("/v1/traces", "/v1/logs"):
        answer = here.post(path, content=body, headers=headers)
        assert answer.status_code == status, answer.text
        assert answer.status_code not in (429, 502, 503, 504)


def _with_many(number: int) -> bytes:
    """A span with many attributes, each of them a list with an empty value: some bytes, and much more in memory."""
    made = request([CALL])
    attributes = made.resource_spans[0].scope_spans[0].spans[0].attributes
    for _ in range(number):
        attributes.add().value.array_value.values.add()
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"\x0a\x00" * 200_000, PROTOBUF),
        (b"\x0a\x80\xc4\x13" + b"\x12\x00" * 160_000, PROTOBUF),
        (_with_many(80_000), PROTOBUF),
        (b'{"resourceSpans":[' + b"{}," * 200_000 + b"{}]}", JSON),
        (b'{"resourceSpans":[' + b"[[]]," * 70_000 + b"{}]}", JSON),
    ],
)
def test_a_body_that_would_take_much_memory_is_refused(here: TestClient, body: bytes, media: str) -> None:
    """A request of very many empty values is refused before they are in memory, and no exporter sends it again."""
    answer = here.post("/v1/traces", content=body, headers={"content-type": media})
    assert answer.status_code == 413
    assert b"send fewer" in answer.content


def test_a_large_span_is_recorded(here: TestClient, sqlite_guard: Rollguard) -> None:
    """A span is not too large because a text in it is."""
    said = {**CALL.attributes, "gen_ai.tool.call.result": "x" * 1_000_000}
    assert post(here, replace(CALL, attributes=said)).status_code == 200
    assert len(recorded(sqlite_guard)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x05\x0a\x00",  # longer than what holds it
        b"\x0b\x0c",  # a group
        b"\x0a" + b"\xff" * 11,  # a number of more than ten bytes
        b"\x0a",
        b"\x0a\x04\x12\x02\x12\x05",
        b"\x0a\x05\x12\x03\x12\x01\xff",
    ],
)
def test_what_is_no_protobuf_is_refused(here: TestClient, body: bytes) -> None:
    """Bytes that are cut off or no protobuf get 400, wherever in the request they are."""
    assert here.post("/v1/traces", content=body, headers={"content-type": PROTOBUF}).status_code == 400


@pytest.mark.parametrize(
    "damage",
    [{"traceId": "zz"}, {"spanId": None}, {"kind": "SPAN_KIND_X"}, {"attributes": [5]}, {"startTimeUnixNano": "soon"}],
)
def test_one_damaged_span_leaves_the_others(here: TestClient, sqlite_guard: Rollguard, damage: dict[str, Any]) -> None:
    """In JSON one span that is none is rejected alone."""
    body = json.loads(as_json(request([CALL, replace(CALL, span=2)])))
    body["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= damage
    answer = here.post("/v1/traces", content=json.dumps(body), headers={"content-type": JSON})
    assert answer.status_code == 200
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    assert len(recorded(sqlite_guard)) == 1


def test_a_refusal_is_a_status_of_google(here: TestClient) -> None:
    """The body of a refusal is `google.rpc.Status`, in the encoding of the request."""
    assert refused(JSON, 400, "no") == b'{"code": 3, "message": "no"}'
    assert refused(PROTOBUF, 503, "x" * 200) == b"\x08\x0e\x12\xc8\x01" + b"x" * 200


def test_a_database_that_is_away_is_tried_again(
    here: TestClient, sqlite_guard: Rollguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away the answer is 503 with Retry-After: the exporter keeps what it has."""

    def away(*_args: object, **_more: object) -> None:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_guard.store.database, "write", away)
        answer = here.post(
            "/v1/traces", content=request([CALL]).SerializeToString(), headers={"content-type": PROTOBUF}
        )
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    post(here, CALL)
    assert len(recorded(sqlite_guard)) == 1


def test_a_token_for_some_tools(sqlite_guard: Rollguard, token: Callable[..., dict[str, str]]) -> None:
    """A token that is limited to tools records only their calls; without the scope it records none."""
    with client_of(sqlite_guard, open_=False) as client:
        headers = {"content-type": PROTOBUF}
        body = request(
            [CALL, replace(CALL, span=2, attributes={**TOOL, "gen_ai.tool.name": "pay"})]
        ).SerializeToString()
        answer = client.post("/v1/traces", content=body, headers=headers | token("ingest", tools=("search",)))
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
        assert (partial.rejected_spans, partial.error_message) == (1, "this token may not record executions of 'pay'")
        assert client.post("/v1/traces", content=body, headers=headers).status_code == 401
        assert client.post("/v1/traces", content=body, headers=headers | token("read", name="bob")).status_code == 403
    assert (len(recorded(sqlite_guard)), len(recorded(sqlite_guard, "pay"))) == (1, 0)


def logs(span: int, **attributes: str) -> ExportLogsServiceRequest:
    """A log within a span."""
    made = ExportLogsServiceRequest()
    record = (
        made.resource_logs.add()
        .scope_logs.add()
        .log_records.add(trace_id=bytes.fromhex(CALL.trace), span_id=span.to_bytes(8, "big"))
    )
    record.attributes.extend(pairs({f"exception.{name}": value for name, value in attributes.items()}))
    return made


@pytest.mark.parametrize("first", ["log", "span"])
@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_exceptions_in_logs(here: TestClient, sqlite_guard: Rollguard, first: str, media: str) -> None:
    """What a failed call raised may be in a log, before its span or after it; a log alone is no call."""
    made = logs(1, type="builtins.KeyError", message="'id'", stacktrace="Traceback: KeyError")
    body = made.SerializeToString() if media == PROTOBUF else as_json(made)  # type: ignore[arg-type]
    sent = [
        lambda: here.post("/v1/logs", content=body, headers={"content-type": media}),
        lambda: post(here, replace(CALL, error="")),
    ]
    for send in sent if first == "log" else sent[::-1]:
        assert send().status_code == 200
    wait(here)
    (row,) = recorded(sqlite_guard)
    assert (row.success, row.error_type, row.error, row.traceback) == (False, "KeyError", "'id'", "Traceback: KeyError")


def test_a_failure_of_which_nothing_is_said(here: TestClient, sqlite_guard: Rollguard) -> None:
    """A failed span without a reason waits for a log, and is recorded without one; a log of another span is ignored."""
    here.post(
        "/v1/logs", content=logs(2, type="E", message="m").SerializeToString(), headers={"content-type": PROTOBUF}
    )
    post(here, replace(CALL, error=""))
    assert recorded(sqlite_guard) == []
    wait(here)
    assert outcomes(sqlite_guard) == [(False, None)]


def test_other_spans_are_counted_and_ignored(here: TestClient, sqlite_guard: Rollguard) -> None:
    """Chats, agents, other methods of MCP, handoffs and HTTP are no calls of tools."""
    others = [
        {"gen_ai.operation.name": "chat"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"},
        {**MCP, "mcp.method.name": "tools/list"},
        {"openinference.span.kind": "LLM"},
        {"openinference.span.kind": "TOOL", "output.value": "agent"},
        {"langfuse.observation.type": "span"},
        {**TOOL, "logfire.span_type": "pending_span"},
        {"http.request.method": "GET"},
    ]
    post(here, *(Sent(number + 1, None, one) for number, one in enumerate(others)))
    wait(here)
    assert sqlite_guard.store.executions.tool_names() == []
    from rollguard.service.otlp.routes import receiver_of

    assert receiver_of(here.app).counts["ignored"] == len(others)  # type: ignore[arg-type]


# --- real exporters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_sdks_exporters(
    sqlite_guard: Rollguard, encoding: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenTelemetry's own exporters send, in protobuf and JSON, plain and compressed, is recorded."""
    json_exporter = pytest.importorskip("opentelemetry.exporter.otlp.json.http").OTLPSpanExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    with served(sqlite_guard) as address:
        exporter: Any = json_exporter if encoding == "json" else OTLPSpanExporter
        exporter = exporter(endpoint=f"{address}/v1/traces")
        provider = TracerProvider(resource=Resource({"service.name": "program"}))
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("mine")
        with tracer.start_as_current_span("agent"):
            for number in range(20):
                with (
                    pytest.raises(ValueError, match="odd") if number % 2 else _nothing(),
                    tracer.start_as_current_span("execute_tool search", attributes={**TOOL, "n": number}),
                ):
                    if number % 2:
                        raise ValueError("odd")
        provider.shutdown()
    assert sorted(outcomes(sqlite_guard)) == [(False, "ValueError")] * 10 + [(True, None)] * 10
    (row, *_) = [one for one in recorded(sqlite_guard) if not one.success]
    assert (row.error, '"service":"program"' in str(row.tags)) == ("odd", True)
    assert "raise ValueError" in str(row.traceback)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
