"""What recording promises, whole on both databases."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, InvalidToolName, StoreConflict
from rollguard.judge import Rules, Window
from rollguard.judge.histogram import bucket_of
from rollguard.model.session import Session
from rollguard.store.rollups.selection import since
from tests.conftest import NOW


def _rows(store: ExecutionStore) -> list[dict[str, Any]]:
    with store.database.read() as connection:
        rows = connection.execute(sa.text("SELECT * FROM tool_executions ORDER BY id"))
        return [dict(row._mapping) for row in rows]


def _windows(store: ExecutionStore, session: Session, until: datetime) -> tuple[int, int]:
    baseline, current = store.executions.windows(session, until)
    return baseline.total, current.total


def _session(store: ExecutionStore, tool: str = "t") -> Session:
    return store.sessions.start(tool, NOW, Rules(), version_number=None, notes=None, now=NOW)


def test_every_field_is_kept(store: ExecutionStore) -> None:
    """A recorded execution reads back as it was given."""
    returned = store.store_tool_execution(
        tool_name="t",
        success=False,
        duration_ms=12.5,
        error="ValueError: no such city",
        parameters={"city": "Atlantis"},
        result=[1, 2],
        executed_at=NOW,
        version_number=3,
        execution_id="call-1",
    )
    (row,) = _rows(store)
    assert returned == row["execution_id"] == "call-1"
    assert (row["tool_name"], bool(row["success"]), row["duration_ms"]) == ("t", False, 12.5)
    assert (row["error_type"], row["error"]) == ("ValueError", "ValueError: no such city")
    assert (row["parameters"], row["result"]) == ('{"city":"Atlantis"}', "[1,2]")
    assert row["version_number"] == 3
    assert str(row["executed_at"]).startswith("2026-03-01 12:00:00")


def test_an_exception_tells_its_type(store: ExecutionStore) -> None:
    """An exception given as the error is kept as its type and its message."""
    store.store_tool_execution(tool_name="t", success=False, error=KeyError("total"))
    assert [(r["error_type"], r["error"]) for r in _rows(store)] == [("KeyError", "'total'")]


def test_a_repeated_id_is_stored_once(store: ExecutionStore) -> None:
    """Writing the same `execution_id` again changes nothing, one by one and in bulk."""
    for success in (True, False):
        store.store_tool_execution(tool_name="t", success=success, execution_id="a")
    bulk = [{"tool_name": "t", "success": True, "execution_id": name} for name in ("a", "b", "b", "c")]
    assert store.store_tool_executions(bulk) == 2
    assert [(r["execution_id"], bool(r["success"])) for r in _rows(store)] == [("a", True), ("b", True), ("c", True)]


def test_bulk_counts_what_is_new_across_batches(store: ExecutionStore) -> None:
    """A bulk write of several batches says how many executions were new."""
    many = [{"tool_name": "t", "success": i % 7 != 0, "execution_id": str(i), "executed_at": NOW} for i in range(2_345)]
    assert store.store_tool_executions(iter(many)) == 2_345
    assert store.store_tool_executions([*many[1_000:], {"tool_name": "t", "success": True}]) == 1


def test_bulk_is_all_or_nothing(store: ExecutionStore) -> None:
    """One impossible execution in a bulk write leaves nothing behind."""
    good = {"tool_name": "t", "success": True}
    with pytest.raises(InvalidInput, match="duration_ms"):
        store.store_tool_executions([good] * 1_500 + [{**good, "duration_ms": -1}])
    assert _rows(store) == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"tool_name": ""}, "tool_name"),
        ({"tool_name": None}, "tool_name"),
        ({"tool_name": "a\\b"}, "may not hold"),
        ({"tool_name": "a\x00b"}, "control characters"),
        ({"tool_name": "x" * 256}, "256"),
        ({"success": "yes"}, "success"),
        ({"success": None}, "success"),
        ({"duration_ms": -0.1}, "duration_ms"),
        ({"duration_ms": math.nan}, "duration_ms"),
        ({"duration_ms": math.inf}, "duration_ms"),
        ({"duration_ms": "12"}, "duration_ms"),
        ({"duration_ms": 10**400}, "duration_ms"),
        ({"executed_at": "yesterday"}, "executed_at"),
        ({"executed_at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}, "executed_at"),
        ({"executed_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))}, "executed_at"),
        ({"version_number": 0}, "version_number"),
        ({"version_number": True}, "version_number"),
        ({"version_number": 2**31}, "version_number"),
        ({"execution_id": ""}, "execution_id"),
        ({"execution_id": "x" * 256}, "execution_id"),
        ({"durations": 1}, "durations"),
    ],
)
def test_bad_input_is_refused_by_name(store: ExecutionStore, fields: dict[str, Any], complaint: str) -> None:
    """An impossible value is refused with the field's name, and nothing is written."""
    with pytest.raises(InvalidInput, match=complaint):
        store.store_tool_executions([{"tool_name": "t", "success": True, **fields}])
    assert _rows(store) == []


@pytest.mark.parametrize("missing", ["tool_name", "success"])
def test_what_is_needed_is_named(store: ExecutionStore, missing: str) -> None:
    """An execution without its tool or its outcome is refused."""
    execution = {"tool_name": "t", "success": True}
    del execution[missing]
    with pytest.raises(InvalidInput, match=f"{missing}: missing"):
        store.store_tool_executions([execution])


@pytest.mark.parametrize("given", [["t", True], ("t", True), "t", None])
def test_only_a_mapping_is_an_execution(store: ExecutionStore, given: Any) -> None:
    """A bare list is not taken for the values of the fields; the error says what to give, and nothing is written."""
    with pytest.raises(InvalidInput, match="is not an execution; give a mapping of tool_name, success") as caught:
        store.store_tool_executions([{"tool_name": "t", "success": True}, given])
    assert caught.value.number == 2
    assert store.executions.tool_names() == []


def test_text_that_no_database_takes_is_refused(store: ExecutionStore) -> None:
    """A lone surrogate in a name or a note is our error, not the driver's."""
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        store.versions.history("\udcff")
    session = _session(store)
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        store.sessions.cancel(session.session_id, notes="\udcff", now=NOW)


def test_a_tools_name_is_refused_as_such(store: ExecutionStore) -> None:
    """A name that no tool can have raises `InvalidToolName`."""
    with pytest.raises(InvalidToolName):
        store.store_tool_execution(tool_name="a\\b", success=True)


def test_windows_are_half_open_at_the_deployment(store: ExecutionStore) -> None:
    """An execution at exactly the deployment is current; one at exactly seven days before is baseline."""
    edges = (-timedelta(days=7, microseconds=1), -timedelta(days=7), -timedelta(microseconds=1), timedelta(0))
    for edge in edges:
        store.store_tool_execution(tool_name="t", success=True, executed_at=NOW + edge)
    assert _windows(store, _session(store), NOW) == (2, 1)


def test_windows_count_durations_and_successes(store: ExecutionStore) -> None:
    """A window holds how many succeeded, how many carry a duration, and the sum of those."""
    for success, duration in ((True, 1.5), (False, None), (True, 2.25)):
        store.store_tool_execution(tool_name="t", success=success, duration_ms=duration, executed_at=NOW)
    store.store_tool_execution(tool_name="other", success=True, executed_at=NOW)
    assert store.executions.windows(_session(store), NOW) == (
        Window(),
        Window(3, 2, 2, 3.75, ((-1, 1), (bucket_of(1.5), 1), (bucket_of(2.25), 1))),
    )


def test_a_naive_time_is_local(store: ExecutionStore) -> None:
    """A datetime without a zone is local time, as everywhere in Python; another zone is converted."""
    local = NOW.astimezone().replace(tzinfo=None)
    elsewhere = NOW.astimezone(UTC)
    for moment in (local, elsewhere):
        store.store_tool_execution(tool_name="t", success=True, executed_at=moment)
    assert _windows(store, _session(store), NOW) == (0, 2)


INSERT = "INSERT INTO tool_executions (tool_name, success, duration_ms, executed_at) VALUES ('t', :ok, 5, :at)"
FORMS = ["2026-03-01 12:00:00", "2026-03-01T12:00:00Z", "2026-03-01 13:00:00+01:00", "2026-03-01 12:00:00.000000"]


@pytest.mark.parametrize("form", FORMS)
def test_another_programs_insert_counts(store: ExecutionStore, form: str) -> None:
    """A row that another program inserts is counted in the window its time lies in, however the time is written."""
    with store.database.write() as connection:
        connection.exec_driver_sql("SELECT 1")
        connection.execute(sa.text(INSERT), {"ok": True, "at": form})
    assert _windows(store, _session(store), NOW) == (0, 1)


def test_another_programs_insert_without_a_time_is_now(store: ExecutionStore) -> None:
    """The default time of an inserted row is the database's clock, in UTC."""
    with store.database.write() as connection:
        connection.execute(sa.text("INSERT INTO tool_executions (tool_name, success) VALUES ('t', :ok)"), {"ok": True})
    now = datetime.now(UTC)
    session = store.sessions.start("t", now - timedelta(minutes=5), Rules(), version_number=None, notes=None, now=now)
    assert _windows(store, session, now + timedelta(minutes=5)) == (0, 1)


def test_another_programs_nonsense_is_refused(store: ExecutionStore) -> None:
    """The database itself refuses a time that is none and a negative duration."""
    with pytest.raises(Exception, match=r"executed_at|timestamp"), store.database.write() as connection:
        connection.execute(sa.text(INSERT), {"ok": True, "at": "soon"})
    with pytest.raises(StoreConflict), store.database.write() as connection:
        connection.execute(
            sa.text("INSERT INTO tool_executions (tool_name, success, duration_ms) VALUES ('t', :ok, -1)"), {"ok": True}
        )


def test_failures_come_latest_first(store: ExecutionStore) -> None:
    """An investigation reads the latest failures of each side, at most as many as it asks for."""
    for minute in range(5):
        for side in (-1, 1):
            store.store_tool_execution(
                tool_name="t", success=False, error=f"E{minute}", executed_at=NOW + side * timedelta(minutes=minute + 1)
            )
    asked = (_session(store), NOW + timedelta(hours=1), 2)
    before, since = store.executions.failures_before(*asked), store.executions.failures_since(*asked)
    assert [f.error for f in before] == ["E0", "E1"]
    assert [f.error for f in since] == ["E4", "E3"]


@pytest.mark.parametrize("errors", [(), ("KeyError",)])
@pytest.mark.parametrize("seconds", [0.0, 90.0])
def test_what_is_listed_is_what_is_counted(store: ExecutionStore, errors: tuple[str, ...], seconds: float) -> None:
    """Failures and outcomes are listed by the rules that count them: retries, requests, versions, callers' errors."""
    some = random.Random(7)
    moments = [NOW + timedelta(seconds=some.randrange(-1_800, 1_800)) for _ in range(600)]
    store.store_tool_executions(
        {
            "tool_name": "t",
            "success": some.random() < 0.4,
            "error_type": some.choice(["KeyError", "OSError"]),
            "executed_at": moment,
            "version_number": some.choice([None, None, 1, 2]),
            "request_id": some.choice([None, None, f"request {some.randrange(30)}"]),
            "parameters": some.choice([None, *({"x": x} for x in range(8))]),
        }
        for moment in moments
    )
    for number in (1, 2):
        store.versions.add("t", b"%d" % number, kind="initial", created_by="me", reason=None, now=NOW)
    rules = Rules(caller_errors=errors, collapse_retries=seconds)
    session = store.sessions.start("t", NOW, rules, version_number=2, notes=None, now=NOW)
    until = NOW + timedelta(minutes=20)
    reads = (store.executions.failures_before, store.executions.failures_since)
    listed = [read(session, until, 1_000) for read in reads]  # before anything was counted
    counted = store.executions.windows(session, until)
    assert [len(failures) for failures in listed] == [window.failures for window in counted]
    assert min(len(failures) for failures in listed) > 10
    assert {f.error_type for f in listed[1]} == {"KeyError", "OSError"} - set(errors)
    started, outcomes = NOW + timedelta(minutes=3), store.executions.latest(session, NOW, until, 1_000)
    (part,) = store.executions.count([since(session, NOW, until + timedelta(microseconds=1))])
    early = sum(f.executed_at < NOW for f in listed[1])  # of clocks that are behind
    assert sum(not success for _at, success, _error in outcomes) == part.failures - early
    (part,) = store.executions.count([since(session, started, until + timedelta(microseconds=1))])
    assert len(store.executions.latest(session, started, until, 1_000)) == part.total


def test_an_earlier_life_of_a_version_is_baseline(store: ExecutionStore) -> None:
    """When a version comes back, what it did before it last stopped being live lies in its baseline."""
    ended = NOW - timedelta(days=1)
    for number in (1, 2):
        store.versions.add("t", b"%d" % number, kind="initial", created_by="me", reason=None, now=NOW)
    for number, at in ((1, NOW - timedelta(days=3)), (2, ended), (1, NOW)):
        live = store.versions.live("t")
        store.versions.go_live(
            "t",
            number,
            swap=lambda _version: None,
            deployed_by="me",
            reason=None,
            deployed_at=at,
            expected_live=live.deployment_id if live else None,
        )
    for moment in (ended - timedelta(hours=1), ended - timedelta(seconds=1), NOW - timedelta(seconds=2), NOW):
        store.store_tool_execution(tool_name="t", success=True, version_number=1, executed_at=moment)
    store.store_tool_execution(tool_name="t", success=True, version_number=2, executed_at=NOW + timedelta(seconds=1))
    session = _session(store)
    assert (session.version_number, session.live_before) == (1, ended)
    assert _windows(store, session, NOW + timedelta(hours=1)) == (2, 2)
