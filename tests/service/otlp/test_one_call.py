"""One call is exactly one execution, however many spans show it, in whatever order and requests they arrive."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from rollguard import Rollguard
from tests.conftest import NOW
from tests.service.conftest import client_of
from tests.service.otlp.sending import CLIENT, MCP, SERVER, TOOL, Sent, in_any_order, outcomes, post, recorded, wait

AGENT = Sent(1, 9, {**TOOL, "gen_ai.tool.call.id": "call-1", "gen_ai.tool.call.arguments": '{"q": "x"}'}, ms=100)
MCP_CLIENT = Sent(2, 1, dict(MCP), CLIENT, start=10, ms=80, scope="mcp")
BETWEEN = Sent(3, 2, {"http.request.method": "POST"}, CLIENT, start=15, ms=70, scope="http")
MCP_SERVER = Sent(
    4,
    3,
    {**MCP, "gen_ai.operation.name": "execute_tool", "fastmcp.component.key": "tool:search@3"},
    SERVER,
    start=20,
    ms=60,
    scope="fastmcp",
    resource={"service.name": "my-server"},
)
WHOLE = [AGENT, MCP_CLIENT, BETWEEN, MCP_SERVER]


def test_in_any_order_and_over_any_requests(guard: Rollguard) -> None:
    """A call seen by the agent, the MCP client and the server is one execution, in each order and split."""
    with client_of(guard) as client:
        ways = in_any_order(WHOLE)
        for number, way in enumerate(ways):
            trace = f"{number + 1:032x}"
            for spans in way:
                post(client, *(replace(span, trace=trace) for span in spans))
            wait(client)
        rows = [*guard.store.listing.recent("search", limit=len(ways) + 1)]
    assert len(rows) == len(ways) == 48
    assert {row.version_number for row in rows} <= {3, None}
    assert {(row.success, row.executed_at) for row in rows} == {(True, NOW)}
    assert {row.parameters for row in rows} == {'{"q":"x"}'}


def test_all_at_once_is_recorded_at_once(guard: Rollguard) -> None:
    """What is whole does not wait: the version is the server's, the time and the duration the agent's."""
    with client_of(guard) as client:
        post(client, *WHOLE)
        (row,) = recorded(guard)
    assert (row.version_number, row.duration_ms, row.executed_at, row.success) == (3, 100.0, NOW, True)
    assert row.tags == '{"service":"my-agent","trace":"0af7651916cd43dd8448eb211c80319c"}'


def test_collectors_retries_count_once(guard: Rollguard) -> None:
    """The same spans again, at once, alone, and after all was recorded, change nothing."""
    with client_of(guard) as client:
        for _ in range(2):
            post(client, *WHOLE)
        for span in WHOLE:
            post(client, span, span)
            wait(client)
        assert len(recorded(guard)) == 1


def test_waiting_survives_the_process(guard: Rollguard) -> None:
    """What waits for its parents is in the database: another process finishes it, exactly once."""
    with client_of(guard) as first:
        post(first, MCP_SERVER, BETWEEN)
        assert recorded(guard) == []
    with client_of(guard) as second:
        post(second, MCP_CLIENT)
        assert recorded(guard) == []
        assert wait(second) == 1
        assert wait(second) == 0
        post(second, AGENT)
        assert [(row.version_number, row.duration_ms) for row in recorded(guard)] == [(3, 80.0)]


def test_what_lies_between_may_be_filtered(here: TestClient, sqlite_guard: Rollguard) -> None:
    """Where a collector drops the spans between client and server, the times tell which belong together."""
    calls = [
        replace(
            span,
            span=span.span + 10 * number,
            parent=span.parent and span.parent + 10 * number,
            start=span.start + number,
        )
        for number in range(3)
        for span in (AGENT, MCP_CLIENT, MCP_SERVER)
    ]
    calls = [
        replace(one, attributes={k: v for k, v in one.attributes.items() if k != "gen_ai.tool.call.id"})
        for one in calls
    ]
    post(here, *calls)
    wait(here)
    assert [row.version_number for row in recorded(sqlite_guard)] == [3, 3, 3]


def test_nested_calls_are_calls_of_their_own(here: TestClient, sqlite_guard: Rollguard) -> None:
    """A tool that has an agent call another tool, or itself, makes two calls; a server that forwards makes one."""
    inner = replace(AGENT, span=5, parent=1, attributes=dict(TOOL), start=10, ms=10)
    other = replace(inner, span=6, attributes={**TOOL, "gen_ai.tool.name": "fetch"})
    post(here, replace(AGENT, attributes=dict(TOOL)), inner, other)
    assert (len(recorded(sqlite_guard)), len(recorded(sqlite_guard, "fetch"))) == (2, 1)
    forwarded = [replace(span, trace="f" * 32) for span in WHOLE]
    behind = [replace(span, span=span.span + 50, parent=(span.parent or 0) + 50, trace="f" * 32) for span in WHOLE[1:]]
    post(here, *forwarded, replace(behind[0], parent=4, start=30, ms=40), *behind[1:])
    assert len(recorded(sqlite_guard)) == 3


def test_two_instrumentations_of_one_agent(here: TestClient, sqlite_guard: Rollguard) -> None:
    """OpenInference above or beside the framework's own span is the same call; parallel calls stay apart."""
    outer = Sent(1, None, {"openinference.span.kind": "TOOL", "tool.name": "search"}, scope="openinference")
    post(here, outer, Sent(2, 1, start=1, ms=90, scope="framework"))
    assert len(recorded(sqlite_guard)) == 1
    beside = [
        Sent(10 + number, 9, {**TOOL, "gen_ai.tool.call.id": call}, scope=scope, trace="e" * 32)
        for number, (call, scope) in enumerate((c, s) for c in ("a", "b") for s in ("one", "two"))
    ]
    post(here, *beside)
    assert len(recorded(sqlite_guard)) == 3


def test_a_retry_is_a_call_of_its_own(here: TestClient, sqlite_guard: Rollguard) -> None:
    """A failed call and its retry, under one id of the model, are two calls; a client's retry inside one is not."""
    failed = replace(AGENT, error="boom", exception=("ValueError", "boom"))
    post(here, failed, replace(AGENT, span=2, start=200))
    assert outcomes(sqlite_guard) == [(False, "ValueError"), (True, None)]
    lost = replace(MCP_CLIENT, error="gone", ms=20, trace="d" * 32)
    again = replace(MCP_CLIENT, span=7, start=40, ms=40, trace="d" * 32)
    post(here, replace(AGENT, trace="d" * 32), lost, again)
    wait(here)
    assert outcomes(sqlite_guard)[2:] == [(True, None)]


def test_waiting_is_bounded(sqlite_guard: Rollguard) -> None:
    """With too many that wait, a call is recorded with what is known of it."""
    sqlite_guard.settings = replace(
        sqlite_guard.settings, otlp=sqlite_guard.settings.otlp.model_copy(update={"max_waiting": 3})
    )
    with client_of(sqlite_guard) as client:
        for number in range(5):
            post(client, replace(MCP_CLIENT, trace=f"{number + 1:032x}"))
            wait(client, 0)
        assert len(recorded(sqlite_guard)) == 2
        assert sqlite_guard.store.spans.waiting() == 3


def test_what_is_old_is_forgotten(here: TestClient, sqlite_guard: Rollguard) -> None:
    """Spans between are kept for a minute, spans of recorded calls for a quarter of an hour."""
    post(here, *WHOLE)
    store = sqlite_guard.store
    kept = []
    for minutes in (0, 2, 20):
        wait(here, timedelta(minutes=minutes).total_seconds() + 11)
        with store.database.read() as connection:
            kept.append(connection.exec_driver_sql("SELECT COUNT(*) FROM otlp_spans").scalar())
    assert kept == [4, 3, 0]


def test_a_prefix_of_the_agents_is_not_the_tools_name(here: TestClient, sqlite_guard: Rollguard) -> None:
    """An agent that puts a prefix before the server's tools calls the server's tool."""
    post(here, replace(AGENT, attributes={**TOOL, "gen_ai.tool.name": "web_search"}), *WHOLE[1:])
    assert len(recorded(sqlite_guard)) == 1
    assert recorded(sqlite_guard, "web_search") == []


@pytest.mark.parametrize("state", ["ot=th:8;rv:abc", "other=1,ot=th:8"])
def test_head_sampled_calls_count_one_each(
    here: TestClient, sqlite_guard: Rollguard, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A call whose trace a head sampler chose counts as one, is tagged with the threshold, and that is said."""
    post(here, replace(AGENT, state=state))
    (row,) = recorded(sqlite_guard)
    assert row.success
    assert '"sampled":"head th:8"' in str(row.tags)
    assert "calls arrive head-sampled: each counts as one" in caplog.text


@pytest.mark.parametrize("said", [{"rollguard.sampling": "tail"}, {"meta.refinery.reason": "error"}])
def test_tail_sampled_calls_are_not_judged(guard: Rollguard, said: dict[str, str]) -> None:
    """A call that was kept because of how it ended is stored, counts nowhere, and the answer says so."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    with client_of(guard) as client:
        answer = post(
            client, replace(AGENT, resource=said), replace(AGENT, span=2, start=500, resource=said, error="x")
        )
    parsed = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (parsed.rejected_spans, parsed.error_message) == (
        0,
        "2 calls are tail-sampled: they are stored, and not judged",
    )
    rows = recorded(guard)
    assert [row.error_type for row in rows] == ["TailSampled", "TailSampled"]
    assert [row.error for row in rows] == [
        "tail-sampled, so not judged; it succeeded",
        "tail-sampled, so not judged; it failed: None: x",
    ]
    from rollguard.store.rollups.selection import Selection

    (window,) = guard.store.executions.count(
        [[Selection("search", NOW - timedelta(hours=1), NOW + timedelta(hours=1))]]
    )
    assert window.total == 0
