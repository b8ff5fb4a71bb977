"""Tags: a few words and numbers of the caller's own on each execution, kept, bounded, and filtered by."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy
import pytest
import sqlalchemy as sa

import rollguard
from rollguard import ExecutionStore, ToolRegistry, tool
from rollguard.errors import InvalidInput, StoreError
from rollguard.model.tags import LONGEST
from rollguard.record import Recorder, Spool
from rollguard.record.call_marks import _line
from tests.conftest import NOW, code


def kept(store: ExecutionStore) -> list[Any]:
    """The tags of every execution, in the order of the calls."""
    found = store.listing.recent(limit=100)
    return [None if one.tags is None else json.loads(one.tags) for one in reversed(found)]


def test_tags_of_direct_recording(store: ExecutionStore) -> None:
    """`store_tool_execution` keeps tags, alone or among many; an empty mapping is none."""
    given = {"tenant": "a", "shard": numpy.int64(3), "beta": True, "share": 0.5, "api_key": "k"}
    stored = {"tenant": "a", "shard": 3, "beta": True, "share": 0.5, "api_key": "***"}
    store.store_tool_execution(tool_name="t", success=True, tags=given, executed_at=NOW)
    later = NOW + timedelta(seconds=1)
    store.store_tool_executions(
        {"tool_name": "t", "success": True, "tags": tags, "executed_at": later} for tags in (given, {})
    )
    assert kept(store) == [stored, stored, None]


def test_tags_of_calls(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Calls inside `with rollguard.tags(...)` are tagged: plain, failing, async, in threads; inner tags come first."""
    (tools_dir / "my_tool.py").write_text(code(1))
    (tools_dir / "slow.py").write_text("async def slow(x): return 1 / x\n")

    @tool(store=store)
    def own() -> None: ...

    with rollguard.tags(tenant="a", shard=1):
        registry.call("my_tool", x=1)
        own()
        with rollguard.tags({"shard": 2, "my tag": "x"}):
            with pytest.raises(ZeroDivisionError):
                asyncio.run(registry.acall("slow", x=0))
            thread = threading.Thread(target=registry.call, args=("my_tool",))
            thread.start()
            thread.join()
    registry.call("my_tool")
    outer = {"tenant": "a", "shard": 1}
    inner = {"tenant": "a", "shard": 2, "my tag": "x"}
    assert kept(store) == [outer, outer, inner, None, None]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("a", "str is no mapping"),
        ({f"t{i}": 1 for i in range(17)}, "17 are too many; at most 16"),
        ({f"t{i}": "x" * 255 for i in range(5)}, f"at most {LONGEST} bytes"),
        ({"": 1}, "is not the name of a tag"),
        ({"a=b": 1}, "is not the name of a tag"),
        ({5: 1}, "is not the name of a tag"),
        ({"a": "x" * 256}, "value of 'a' is not a text of at most 255 characters"),
        ({"a": None}, "value of 'a'"),
        ({"a": [1]}, "value of 'a'"),
        ({"a": float("nan")}, "value of 'a'"),
        ({"a": 2**60}, "value of 'a'"),
    ],
)
def test_tags_are_bounded(store: ExecutionStore, given: Any, complaint: str) -> None:
    """Too many or too long tags, and values that are no text, number or truth, are refused where they are given."""
    with pytest.raises(InvalidInput, match=f"tags: .*{complaint}"):
        store.store_tool_execution(tool_name="t", success=True, tags=given)
    if isinstance(given, dict):
        with pytest.raises(InvalidInput, match=complaint):
            rollguard.tags(given)


def test_other_programs_tags(store: ExecutionStore) -> None:
    """The database takes a JSON object in another program's form, and refuses what is none."""
    insert = "INSERT INTO tool_executions (tool_name, success, tags) VALUES ('t', TRUE, :tags)"
    with store.database.write() as connection:
        connection.execute(sa.text(insert), {"tags": '{ "tenant" : "a" }'})
    for wrong in ("[1]", "tenant=a", "5"):
        with pytest.raises((StoreError, InvalidInput)), store.database.write() as connection:
            connection.execute(sa.text(insert), {"tags": wrong})
    assert [one.tool_name for one in store.listing.recent(tags={"tenant": "a"})] == ["t"]


def test_tags_in_the_spool_and_in_marks(store: ExecutionStore, tmp_path: Path) -> None:
    """Tags survive an absent database, and a call that ends its process; a mark without room goes without them."""
    spool = Spool(tmp_path / "spool.jsonl")
    spool.append(store.executions.row(tool_name="t", success=True, tags={"tenant": "a"}))
    Recorder(store, spool).flush()
    assert kept(store) == [{"tenant": "a"}]
    mark = '[1.0,"t",1,null'
    assert json.loads(_line(mark, '{"tenant":"a"}')) == [1.0, "t", 1, None, {"tenant": "a"}]
    assert json.loads(_line(mark, json.dumps({"a": "x" * 3_000}))) == [1.0, "t", 1, None]


def test_filters(store: ExecutionStore) -> None:
    """Executions are found by all of the tags asked for, compared as text; counted by a tag, most frequent first."""
    store.store_tool_executions(
        {
            "tool_name": "t" if number % 2 else "u",
            "success": number % 3 > 0,
            "executed_at": NOW + timedelta(seconds=number),
            "tags": {"tenant": "ab"[number % 2], "shard": number % 4, "beta": number == 5} if number < 9 else {},
        }
        for number in range(12)
    )
    listing = store.listing
    assert len(listing.recent(tags={"tenant": "a"})) == 5
    assert [one.executed_at for one in listing.recent(tags={"tenant": "b", "shard": "1"})] == [
        NOW + timedelta(seconds=5),
        NOW + timedelta(seconds=1),
    ]
    assert len(listing.recent(tags={"beta": True})) == len(listing.recent(tags={"beta": "true"})) == 1
    assert len(listing.recent("t", tags={"tenant": "b"}, failed=True)) == 1
    assert len(listing.recent(since=NOW + timedelta(seconds=10))) == 2
    assert listing.recent(tags={"tenant": 'a" OR 1=1'}) == []
    counts = [(one.value, one.total, one.failures) for one in listing.by_tag("tenant")]
    assert counts == [("a", 5, 2), ("b", 4, 1), (None, 3, 1)]
    assert [one.value for one in listing.by_tag("shard", "u", tags={"tenant": "a"})] == ["0", "2"]
