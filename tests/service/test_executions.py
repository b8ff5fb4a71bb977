"""Recording over HTTP: each row for itself, each id once, and what is acknowledged is kept."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rollguard import Rollguard
from rollguard.errors import StoreUnavailable
from rollguard.model.execution import FIELDS
from rollguard.service.rows import Row
from tests.service.conftest import client_of, row

PATH = "/api/v1/executions"
LINES = {"content-type": "application/x-ndjson"}


def stored(guard: Rollguard) -> dict[str | None, Any]:
    return {one.execution_id: one for one in guard.store.listing.recent(limit=1_000)}


def test_rows_are_stored_as_the_library_stores_them(client: TestClient, guard: Rollguard) -> None:
    """A row over HTTP is the same execution as one given to the store, secrets replaced."""
    given = row(7, success=False, error="KeyError: 'x'", tags={"tenant": "a"}, result=[1, {"password": "hush"}])
    assert client.post(PATH, json=[given]).json()["stored"] == 1
    guard.store.store_tool_executions([{**given, "execution_id": "of-the-library"}])
    ours, theirs = stored(guard)["call-7"], stored(guard)["of-the-library"]
    assert ours._replace(execution_id=None) == theirs._replace(execution_id=None)
    assert "hush" not in ours.result


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lines", [False, True])
def test_every_form_is_read(here: TestClient, sqlite_guard: Rollguard, lines: bool, compressed: bool) -> None:
    """JSON and JSON lines, compressed and not, bring the same rows."""
    rows = [row(number) for number in range(5)]
    body = "\n".join(map(json.dumps, rows)).encode() if lines else json.dumps(rows).encode()
    kind = "application/x-ndjson" if lines else "application/json; charset=utf-8"
    headers = {"content-type": kind} | ({"content-encoding": "gzip"} if compressed else {})
    answer = here.post(PATH, content=gzip.compress(body) if compressed else body, headers=headers)
    assert (answer.status_code, answer.json()["stored"]) == (200, 5)
    assert set(stored(sqlite_guard)) == {one["execution_id"] for one in rows}


def test_each_row_stands_for_itself(client: TestClient, guard: Rollguard) -> None:
    """Rows that are no executions are refused by their position, and the others are stored."""
    rows = [row(0), row(1, success="yes"), row(2, tool_name="a\\b"), {"tool_name": "x"}, 5, row(3), row(4, extra=1)]
    answer = client.post(PATH, json=rows)
    assert answer.status_code == 207
    assert [one["row"] for one in answer.json()["refused"]] == [1, 2, 3, 4, 6]
    assert answer.json()["refused"][0]["execution_id"] == "call-1"
    assert set(stored(guard)) == {"call-0", "call-3"}


def test_a_long_list_is_read_in_parts(here: TestClient, sqlite_guard: Rollguard) -> None:
    """Each row of a long list is found, also after rows that hold what looks like rows, and named by its position."""
    inside = [{"tool_name": "inside", "success": "x" * 2_000}] * 100  # more than one part
    rows = [row(number, parameters={"some": inside if number % 4 == 0 else "},{" * 200}) for number in range(40)]
    answer = here.post(PATH, json=[*rows, row(40, success="yes"), row(41)]).json()
    assert (answer["received"], answer["stored"]) == (42, 41)
    assert [one["row"] for one in answer["refused"]] == [40]
    assert set(stored(sqlite_guard)) == {f"call-{number}" for number in (*range(40), 41)}


def test_a_list_that_breaks_off_is_refused_as_a_whole(here: TestClient, sqlite_guard: Rollguard) -> None:
    """Nothing of a list is stored if its end is no JSON."""
    rows = json.dumps([row(number, result="x" * 1_000) for number in range(400)])
    answer = here.post(PATH, content=f"{rows[:-1]},]", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "counted from row" in answer.json()["detail"]
    assert not stored(sqlite_guard)


def test_an_id_is_stored_once(client: TestClient, guard: Rollguard) -> None:
    """The same rows again change nothing; with other content, the first is kept and each is reported."""
    rows = [row(number) for number in range(3)]
    client.post(PATH, json=rows)
    again = client.post(PATH, json=[*rows, row(1, success=False), row(3), row(3, result="other")]).json()
    assert (again["received"], again["stored"], again["already_stored"]) == (6, 1, 5)
    assert again["conflicts"] == [{"row": 3, "execution_id": "call-1"}, {"row": 5, "execution_id": "call-3"}]
    assert stored(guard)["call-1"].success
    assert stored(guard)["call-3"].result is None


def test_a_row_without_a_time_may_be_sent_again(here: TestClient) -> None:
    """What the caller did not give is not compared."""
    del (undated := row())["executed_at"]
    here.post(PATH, json=undated)
    assert here.post(PATH, json=undated).json() == {
        "received": 1, "stored": 0, "already_stored": 1, "waiting": 0, "refused": [], "conflicts": []
    }  # fmt: skip


def test_a_token_records_its_tools_alone(
    sqlite_guard: Rollguard, here: TestClient, token: Callable[..., dict[str, str]]
) -> None:
    """Rows of a tool that the token is not made for are refused and named."""
    limited = token("ingest", tools=("my_tool",))
    answer = here.post(PATH, json=[row(0), row(1, tool_name="payment", success=False)], headers=limited)
    assert answer.status_code == 207
    assert "may not record executions of 'payment'" in answer.json()["refused"][0]["problem"]
    assert set(stored(sqlite_guard)) == {"call-0"}
    alone = here.post(PATH, json=row(1, tool_name="payment"), headers=limited)
    assert (alone.status_code, alone.json()["rows"][0]["row"]) == (422, 0)


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (b"[", {"content-type": "application/json"}, 400, "not JSON"),
        (b"[]", {"content-type": "application/json"}, 422, "no execution"),
        (b"\n\n", LINES, 422, "no execution"),
        (b"5", {"content-type": "application/json"}, 422, "no row is an execution"),
        (b"{}", {"content-type": "text/csv"}, 415, "application/json or application/x-ndjson"),
        (b"{}", {}, 415, "application/json"),
        (b"{}", {"content-type": "application/json; charset=latin-1"}, 415, "UTF-8"),
        (b"{}", LINES | {"content-encoding": "br"}, 415, "gzip"),
        (b"{}", LINES | {"content-encoding": "gzip"}, 400, "not valid gzip"),
        (gzip.compress(b"{}" * 50, mtime=0)[:-9], LINES | {"content-encoding": "gzip"}, 400, "ends early"),
        (b" " * 5_000, LINES, 413, "larger than 4,096 bytes"),
        (
            gzip.compress(b" " * 10**6, mtime=0),
            LINES | {"content-encoding": "gzip"},
            413,
            "20,000 bytes when it is decompressed",
        ),
        (gzip.compress(b"\n" * 9_000, mtime=0) * 3, LINES | {"content-encoding": "gzip"}, 413, "20,000 bytes"),
        (b'{"tool_name":"t"}\n' * 12, LINES, 413, "more than 10 rows; send it in parts"),
        (b'[{"tool_name": "\xff"}]', {"content-type": "application/json"}, 400, "not JSON"),
        (b"[" * 4_000, {"content-type": "application/json"}, 400, "recursion limit"),
        (b'{"tool_name": NaN}', {"content-type": "application/json"}, 400, "not JSON"),
    ],
)
def test_what_is_no_body_is_refused(
    sqlite_guard: Rollguard, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    """A body that cannot be read, or is too large, is refused as a whole, and the answer says why."""
    client = client_of(sqlite_guard, max_body_bytes=4_096, max_decompressed_bytes=20_000, max_rows=10)
    answer = client.post(PATH, content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert not stored(sqlite_guard)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("executed_at", "2026-03-01T12:00:00"),
        ("executed_at", "1772366400"),
        ("executed_at", 1772366400),
        ("success", 1),
        ("duration_ms", -1),
        ("duration_ms", True),
        ("error", {"a": 1}),
        ("execution_id", ""),
        ("execution_id", 5),
        ("version_number", 0),
        ("version_number", 2**31),
        ("tags", {"a": None}),
        ("tags", {f"t{number}": 1 for number in range(17)}),
        ("score", 1.1),
        ("failed_at", {"function": "f"}),
        ("tool_name", "x" * 256),
        ("tool_name", None),
    ],
)
def test_a_wrong_field_is_named(here: TestClient, field: str, value: object) -> None:
    """A row with a wrong value is refused, and the answer names the field."""
    answer = here.post(PATH, json=row(**{field: value}))
    assert answer.status_code == 422
    assert field in answer.json()["rows"][0]["problem"]


def test_rows_wait_on_the_disk_while_the_database_is_away(
    here: TestClient, sqlite_guard: Rollguard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are acknowledged with 202 when they are on the disk, and stored, once, when the database is back."""

    def away(*_: object, **__: object) -> int:
        raise StoreUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_guard.store.executions, "write", away)
        answer = here.post(PATH, json=[row(0), row(1)])
        assert (answer.status_code, answer.json()["waiting"]) == (202, 2)
        assert not stored(sqlite_guard)
    sqlite_guard.registry.recorder.flush()
    assert set(stored(sqlite_guard)) == {"call-0", "call-1"}


def test_nothing_is_acknowledged_that_is_kept_nowhere(
    here: TestClient, sqlite_guard: Rollguard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If neither the database nor the disk takes rows, the answer is 503, and says when to try again."""
    monkeypatch.setattr(sqlite_guard.store.database, "write", _raise(StoreUnavailable("away")))
    monkeypatch.setattr(sqlite_guard.registry.recorder.spool, "append", _raise(OSError(28, "No space left on device")))
    answer = here.post(PATH, json=row())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def _raise(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def test_a_caller_that_goes_away_is_no_error(
    here: TestClient, sqlite_guard: Rollguard, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that ends within a body is not logged as an error of Rollguard."""
    messages = iter([{"type": "http.request", "body": b"[", "more_body": True}, {"type": "http.disconnect"}])
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers, "query_string": b"", "client": None}

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(_message: object) -> None:
        return

    asyncio.run(here.app({**scope, "scheme": "http", "root_path": ""}, receive, send))  # type: ignore[arg-type]
    assert not [one for one in caplog.records if one.levelno > logging.DEBUG]
    assert not stored(sqlite_guard)


def test_a_row_has_every_field_of_an_execution() -> None:
    """What the library records can be sent, each field of it."""
    assert tuple(Row.__annotations__) == FIELDS
