"""A program on another machine: it records as a local one does, and serves what is live in the service."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollguard import Rollguard, request, tags
from rollguard.client import Client
from rollguard.client.sink import line_of
from rollguard.compat import pack
from rollguard.errors import (
    InvalidInput,
    ServiceRefused,
    StoreUnavailable,
    UnknownSession,
    UnknownTool,
    UnknownVersion,
)
from rollguard.model.in_flight import CallInFlight
from rollguard.record.sink import RowsRefused
from tests.conftest import code
from tests.service.conftest import HERE, client_of

Make = Callable[..., dict[str, str]]


class Wire(httpx2.BaseTransport):
    """Requests go to the service in this process; it can be cut."""

    def __init__(self, guard: Rollguard, **settings: Any) -> None:
        self._to = client_of(guard, **settings)._transport
        self.cut = False
        self.sent: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on."""
        if self.cut:
            raise httpx2.ConnectError(f"no route to {request.url}")
        self.sent.append(request)
        return self._to.handle_request(request)


@pytest.fixture
def wire(sqlite_guard: Rollguard) -> Wire:
    """What connects the client and the service."""
    return Wire(sqlite_guard)


@pytest.fixture
def client(wire: Wire, tmp_path: Path) -> Iterator[Client]:
    """A client with a folder of its own."""
    with Client(HERE, transport=wire, folder=tmp_path / "client") as opened:
        yield opened


def stored(guard: Rollguard) -> list[Any]:
    return guard.store.listing.recent(limit=1_000)[::-1]


def test_a_call_is_recorded_as_a_local_one(client: Client, sqlite_guard: Rollguard) -> None:
    """A call over the service is the same execution as one recorded here, its secrets replaced before they leave."""

    def weather(city: str, api_key: str) -> dict[str, Any]:
        if city == "Atlantis":
            raise KeyError(city)
        return {"city": city, "warm": True}

    both = [client.tool(weather, version=3), sqlite_guard.tool(weather, version=3)]
    for tool in both:
        with tags({"tenant": "a"}):
            tool("Oslo", api_key="hush")
            with pytest.raises(KeyError):
                tool("Atlantis", api_key="hush")
        client.flush()
        sqlite_guard.registry.recorder.flush()
    *remote, one, two = stored(sqlite_guard)
    for theirs, ours in zip(remote, (one, two), strict=True):
        same = {"execution_id": None, "executed_at": None, "duration_ms": None}
        assert theirs._replace(**same) == ours._replace(**same)
        assert "hush" not in str(theirs)


def test_a_cut_connection_loses_nothing(
    client: Client,
    wire: Wire,
    sqlite_guard: Rollguard,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the service is away calls wait in the spool; afterwards each is stored once. The URL is not logged."""
    double = client.tool(lambda x: 2 * x, name="double")
    wire.cut = True
    for number in range(5):
        double(number)
    client.recorder.empty()
    assert client.recorder.spool.pending
    with pytest.raises(StoreUnavailable, match="does not answer: ConnectError"):
        client.flush()
    wire.cut = False
    client.flush()
    client.flush()
    assert len(stored(sqlite_guard)) == 5
    assert "no route" not in caplog.text


def test_an_answer_that_is_lost_stores_nothing_twice(
    client: Client,
    wire: Wire,
    sqlite_guard: Rollguard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the answer does not arrive, the same executions are sent again, and stored once."""
    through = wire.handle_request

    def lose(request: httpx2.Request) -> httpx2.Response:
        through(request)
        raise httpx2.ReadTimeout("late")

    client.tool(lambda: 1, name="one")()
    with monkeypatch.context() as patch:
        patch.setattr(wire, "handle_request", lose)
        client.recorder.empty()
    client.flush()
    assert len(stored(sqlite_guard)) == 1


def test_a_refused_row_stops_no_other(sqlite_guard: Rollguard, token: Make, tmp_path: Path) -> None:
    """What the service refuses is set aside beside the spool, at once, and the others are stored."""
    wire = Wire(sqlite_guard, open_=False)
    secret = token("ingest", tools=("mine",))["authorization"].split()[1]
    with Client(HERE, secret, transport=wire, folder=tmp_path / "client") as client:
        for name in ("mine", "other", "mine"):
            client.tool(lambda: 1, name=name)()
        client.flush()
        assert [one.tool_name for one in stored(sqlite_guard)] == ["mine", "mine"]
        assert client.recorder.refused.pending
        assert not client.recorder.spool.pending
        assert [one.url.path for one in wire.sent].count("/api/v1/executions") == 1


@pytest.mark.parametrize("given", ["rgt_wrong", None])
def test_a_refused_token_keeps_everything(
    sqlite_guard: Rollguard,
    token: Make,
    tmp_path: Path,
    given: str | None,
) -> None:
    """With a token that is refused, calls wait in the spool until it is put right."""
    right = token("ingest")["authorization"].split()[1]
    wire = Wire(sqlite_guard)
    with Client(HERE, given, transport=wire, folder=tmp_path / "client") as client:
        client.tool(lambda: 1, name="one")()
        with pytest.raises(StoreUnavailable, match="token"):
            client.flush()
    with Client(HERE, right, transport=wire, folder=tmp_path / "client") as client:
        client.flush()
    assert len(stored(sqlite_guard)) == 1


def test_no_rollguard_service_takes_nothing(tmp_path: Path) -> None:
    """An address that answers and is no Rollguard keeps everything in the spool, whatever it says."""
    for status in (200, 204, 301, 404, 405, 500):
        wire = httpx2.MockTransport(lambda _request, status=status: httpx2.Response(status, text="hello"))
        with Client("http://elsewhere", transport=wire, folder=tmp_path / str(status)) as client:
            client.tool(lambda: 1, name="one")()
            with pytest.raises(StoreUnavailable, match="http://elsewhere"):
                client.flush()
            assert client.recorder.spool.pending


def test_large_batches_are_sent_in_parts(client: Client, wire: Wire, sqlite_guard: Rollguard) -> None:
    """A batch that one request cannot hold is sent in several, and each row arrives once."""
    rows = [
        client.recorder._store.executions.row(tool_name="big", success=True, result="x" * 15_000, execution_id=str(n))
        for n in range(150)
    ]
    client.recorder.deliver(rows)
    assert len(stored(sqlite_guard)) == 150
    assert len(wire.sent) == 3


def test_what_the_wire_carries_is_what_is_stored(sqlite_guard: Rollguard) -> None:
    """A line holds each field once, as JSON, and parameters as they are."""
    row = sqlite_guard.store.executions.row(
        tool_name="t", success=False, error='a"b\n\u2028', parameters={"x": [1, None]}, tags={"k": "v"}, score=0.5
    )
    line = line_of(row)
    assert b"\n" not in line
    assert httpx2.Response(200, content=line).json() == {
        "tool_name": "t",
        "success": False,
        "error": row.error,
        "parameters": {"x": [1, None]},
        "tags": {"k": "v"},
        "score": 0.5,
        "executed_at": row.executed_at.isoformat().replace("+00:00", "Z") if row.executed_at else None,
        "execution_id": row.execution_id,
    }


def test_limits_and_running_calls_arrive(client: Client, sqlite_guard: Rollguard) -> None:
    """By which limit calls count as failed, and which calls run, is known in the service."""
    client.tool(lambda: 1, name="slow", timeout_seconds=7.0)()
    client.flush()
    assert set(sqlite_guard.store.definitions.since(["slow"])) == {"slow"}
    began = datetime.now(UTC)
    client.recorder._store.in_flight.publish("0" * 32, [CallInFlight("slow", 2, began)])
    (running,) = sqlite_guard.store.in_flight.all()
    assert (running.tool_name, running.version_number, running.began_at) == ("slow", 2, began)
    assert running.host
    assert running.pid


# --- serving ---------------------------------------------------------------------------------------------------------


def follow(client: Client) -> None:
    """What the thread does when the service answers."""
    client._serving._ask(0.0)


@pytest.fixture
def serving(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose thread does not run, so that the test itself follows."""
    monkeypatch.setattr("rollguard.client.serving.Serving._follow", lambda _serving: None)
    monkeypatch.setattr("rollguard.service.live._EVERY", 0.0)
    return client


def test_what_is_live_is_served(serving: Client, sqlite_guard: Rollguard) -> None:
    """A call runs the version that is live in the service, is recorded with it, and follows a rollback."""
    for version in (1, 2):
        sqlite_guard.deploy("my_tool", code(version))
    assert serving.call("my_tool", x=10) == 12
    sqlite_guard.monitor.roll_back("my_tool", reason="bad")
    follow(serving)
    assert serving.call("my_tool", x=10) == 11
    serving.flush()
    assert [(one.version_number, one.parameters) for one in stored(sqlite_guard)] == [(2, '{"x":10}'), (1, '{"x":10}')]
    with pytest.raises(UnknownTool, match="no live version"):
        serving.call("other")


def test_the_tools_of_a_package_are_served_together(serving: Client, sqlite_guard: Rollguard) -> None:
    """A call of a package's tool runs its modules here, which all of its tools share, and follows a rollback."""
    for version in (1, 2):
        sqlite_guard.release(f"v{version}", {"units": _package(version)})
    assert [serving.call("units/count"), serving.call("units/total"), serving.call("units/count")] == [21, 21, 22]
    sqlite_guard.monitor.roll_back("units/count", reason="bad")
    follow(serving)
    assert [serving.call("units/total"), serving.call("units/count")] == [10, 11]
    serving.flush()
    found = [(one.tool_name, one.version_number) for one in stored(sqlite_guard)]
    assert found == [
        *[("units/count", 2), ("units/total", 2), ("units/count", 2)],
        *[("units/total", 1), ("units/count", 1)],
    ]


def _package(version: int) -> bytes:
    files = {
        "__init__.py": "from .tools import count, total\n",
        "tools.py": "from rollguard import tool\n\nfrom . import kept\n\n\n"
        "@tool\ndef count() -> int:\n    kept.N += 1\n    return kept.N\n\n\n"
        "@tool\ndef total() -> int:\n    return kept.N\n",
        "kept.py": f"N = {10 * version}\n",
    }
    return pack({name: text.encode() for name, text in files.items()})


def test_a_rollout_is_served(serving: Client, sqlite_guard: Rollguard) -> None:
    """While two versions serve, each call is drawn and recorded with its arm; a request keeps its version."""
    sqlite_guard.deploy("my_tool", code(1))
    begun = sqlite_guard.deploy("my_tool", code(2), rollout=[0.5])
    seen = [serving.call("my_tool") for _ in range(40)]
    assert set(seen) == {1, 2}
    with request("r-7"):
        assert len({serving.call("my_tool") for _ in range(10)}) == 1
    sqlite_guard.monitor.rollouts.promote("my_tool", by="me")
    follow(serving)
    assert {serving.call("my_tool") for _ in range(10)} == {2}
    serving.flush()
    drawn = stored(sqlite_guard)[:40]
    assert [one.version_number for one in drawn] == seen
    assert {(one.version_number, one.arm, one.rollout_id, one.stage) for one in drawn} == {
        (1, "old", begun.rollout_id, 0),
        (2, "new", begun.rollout_id, 0),
    }
    assert stored(sqlite_guard)[-1].arm is None


def test_nothing_new_is_not_sent(serving: Client, wire: Wire, sqlite_guard: Rollguard) -> None:
    """A client that knows what is live is told that in an answer without a body."""
    sqlite_guard.deploy("my_tool", code(1))
    serving.live()
    answer = wire.handle_request(
        httpx2.Request("GET", f"{HERE}/api/v1/live?wait=0", headers={"if-none-match": f'"{serving._serving._tag}"'})
    )
    assert (answer.status_code, answer.read()) == (304, b"")


def test_a_version_that_does_not_load_here_is_not_served(
    serving: Client,
    sqlite_guard: Rollguard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While a version cannot be loaded here, the one before is served and recorded, and the log says so once."""
    sqlite_guard.deploy("my_tool", code(1))
    assert serving.call("my_tool") == 1
    sqlite_guard.deploy("my_tool", "import os\nassert 'LACKS' not in os.environ\n" + code(2))
    monkeypatch.setenv("LACKS", "what the code needs")
    follow(serving)
    with caplog.at_level(logging.ERROR):
        assert [serving.call("my_tool") for _ in range(3)] == [1, 1, 1]
    assert caplog.text.count("cannot be served here") == 1
    serving.flush()
    assert {one.version_number for one in stored(sqlite_guard)} == {1}


def test_a_start_without_the_service_serves_what_was_live(
    serving: Client,
    wire: Wire,
    sqlite_guard: Rollguard,
    tmp_path: Path,
) -> None:
    """A process that starts while the service is away serves what the folder keeps; without a folder it says so."""
    sqlite_guard.deploy("my_tool", code(5))
    assert serving.call("my_tool") == 5
    wire.cut = True
    with Client(HERE, transport=wire, folder=tmp_path / "client") as again:
        assert again.call("my_tool") == 5
    with Client(HERE, transport=wire, folder=tmp_path / "empty") as new, pytest.raises(StoreUnavailable):
        new.call("my_tool")


def test_other_code_than_the_hash_says_is_not_run(serving: Client, wire: Wire, tmp_path: Path) -> None:
    """Code that was changed on its way, or in the folder, is never run."""
    from rollguard.client.answers import LiveVersion

    said = LiveVersion("my_tool", 1, "0" * 64, 1)
    kept = tmp_path / "client" / "live" / "my_tool-000000000000.py"
    kept.parent.mkdir(parents=True)
    kept.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    wire._to = httpx2.MockTransport(lambda _request: httpx2.Response(200, text=kept.read_text()))
    serving._serving._live = {"my_tool": said}
    serving._serving._thread = object()  # type: ignore[assignment]
    with pytest.raises(Exception, match="other code than its hash says"):
        serving.call("my_tool")
    assert not (tmp_path / "ran").exists()


# --- asking ----------------------------------------------------------------------------------------------------------


def test_a_person_acts_over_the_service(client: Client, sqlite_guard: Rollguard) -> None:
    """Deploying, rolling back, lists and explanations are typed, and go over all pages."""
    made = [client.deploy("my_tool", code(number), reason="try") for number in (1, 2)]
    assert [one.version_number for one in made] == [1, 2]
    done = client.roll_back("my_tool", reason="bad")
    assert (done.from_version, done.to_version, done.requested_by) == (2, 1, "local")
    assert list(client.rollbacks("my_tool")) == sqlite_guard.store.rollbacks.recent()
    assert list(client.deployments()) == sqlite_guard.store.versions.deployments()
    assert client.explain(made[1].session_id or 0)["session"]["status"] == "rolled_back"
    assert [one["session_id"] for one in client.pages("sessions", limit=1)] == [2, 1]


def test_errors_are_rollguards_own(client: Client, sqlite_guard: Rollguard, token: Make) -> None:
    """What the service refuses is the error that the library raises for the same."""
    with pytest.raises(UnknownSession, match="no monitoring session 9"):
        client.explain(9)
    client.deploy("my_tool", code(1))
    with pytest.raises(UnknownVersion):
        client.get("version", tool="my_tool", version="7")
    with pytest.raises(InvalidInput):
        client.post("rollbacks", {"tool_name": "my_tool", "reason": "x", "to_version": "no label \x00"})
    with pytest.raises(ServiceRefused, match="there is nothing at"):
        client.get("nowhere")
    with pytest.raises(InvalidInput, match="no URL"):
        Client("rollguard.example.com")
    token("read")
    with pytest.raises(ServiceRefused, match="needs a token"):
        client.get("tools")


def test_another_program_at_the_url_is_named(tmp_path: Path) -> None:
    """What answers anything but JSON is no service, and the error says so."""
    page = httpx2.MockTransport(lambda _request: httpx2.Response(200, text="<html>"))
    with (
        Client(HERE, transport=page, folder=tmp_path) as client,
        pytest.raises(StoreUnavailable, match="status 200, from no Rollguard service"),
    ):
        client.get("stability")


def test_rows_refused_names_them() -> None:
    """The error of refused rows holds them, so that the others are not sent again."""
    assert RowsRefused("no", []).rows == []
