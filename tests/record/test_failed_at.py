"""Where a call failed: kept with a failed execution, and never with one that succeeded."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, ToolRegistry, tool
from rollguard.cli.ingest import Source
from rollguard.model.execution import Execution
from rollguard.model.failed_at import LONGEST, frame_of, shortened, where_failed
from rollguard.sandbox.outcome import Frame
from rollguard.store.executions.complete import complete_call
from rollguard.store.executions.payloads import Payloads
from tests.conftest import NOW

SOURCE = """
import json

def parse(text):
    return json.loads(text)

def my_tool(text, api_key="k"):
    return parse(text)
"""


def latest(store: ExecutionStore) -> Execution:
    return store.listing.recent(limit=1)[0]


def test_a_tool_of_the_folder(store: ExecutionStore, tmp_path: Path) -> None:
    """The innermost line of the tool's own file is kept, not a library's, and the traceback ends with the error."""
    registry = ToolRegistry(tmp_path, store=store)
    registry.deploy("my_tool", SOURCE)
    with pytest.raises(json.JSONDecodeError):
        registry.call("my_tool", text="{")
    kept = latest(store)
    assert frame_of(kept.failed_at) == Frame("parse", 5, "return json.loads(text)")
    assert kept.traceback is not None
    assert kept.traceback.startswith("Traceback (most recent call last):\n")
    assert kept.traceback.splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert "rollguard/record" not in kept.traceback
    registry.call("my_tool", text="{}")
    assert latest(store)[-2:] == (None, None)


def test_an_async_function_that_records_itself(store: ExecutionStore) -> None:
    """A function of a program, also an async one, keeps its own line."""

    @tool(store=store, name="own")
    async def own(n: int) -> float:
        await asyncio.sleep(0)
        return 1 / n

    with pytest.raises(ZeroDivisionError):
        asyncio.run(own(0))
    assert frame_of(latest(store).failed_at) == Frame(
        "own", own.__wrapped__.__code__.co_firstlineno + 3, "return 1 / n"
    )


def test_secrets_are_redacted(store: ExecutionStore, tmp_path: Path) -> None:
    """A secret parameter is in neither the line nor the traceback, and the line of a tool may hold one, too."""
    registry = ToolRegistry(tmp_path, store=store)
    registry.deploy("my_tool", "def my_tool(password):\n    token = 'hunter22'; raise ValueError(f'no {password}')\n")
    with pytest.raises(ValueError, match="no s3cret"):
        registry.call("my_tool", password="s3cret")
    kept = latest(store)
    assert "no ***" in str(kept.traceback)
    for text in (kept.failed_at, kept.traceback, kept.error):
        assert "s3cret" not in str(text)
        assert "hunter22" not in str(text)


def test_a_deep_recursion_is_cut(store: ExecutionStore) -> None:
    """A traceback without end is kept in bounds, with the place where it failed at its end."""

    @tool(store=store, name="deep")
    def deep(n: int) -> int:
        return inner(n)

    def inner(n: int) -> int:
        return inner(n + 1)

    with pytest.raises(RecursionError):
        deep(0)
    kept = latest(store)
    assert len(str(kept.traceback)) <= LONGEST
    assert "RecursionError" in str(kept.traceback)
    found = frame_of(kept.failed_at)
    assert found is not None
    assert found.function == "inner"


def test_a_long_traceback_is_cut_in_its_middle() -> None:
    """What is kept of a long text is its beginning and its end."""
    text = "begin" + "x" * 50_000 + "end"
    kept = shortened(text)
    assert len(kept) <= LONGEST
    assert kept.startswith("beginx")
    assert kept.endswith("xend")
    assert shortened("short") == "short"


class Odd(Exception):
    """Fails to describe itself."""

    def __str__(self) -> str:
        raise SystemExit(3)


def test_an_odd_exception_does_not_reach_the_caller() -> None:
    """An exception that cannot be described, or was never raised, has no place."""
    assert where_failed(ValueError("never raised")) == (None, None)
    try:
        raise Odd
    except Odd as error:
        frame, _text = where_failed(error)
    assert frame is None or frame.function == "test_an_odd_exception_does_not_reach_the_caller"


def test_what_programs_store(store: ExecutionStore) -> None:
    """A raised exception says its own place; a given place and traceback are kept, and come back out of a file."""
    try:
        raise KeyError("x")
    except KeyError as error:
        store.store_tool_execution(tool_name="t", success=False, error=error)
    found = frame_of(latest(store).failed_at)
    assert found is not None
    assert (found.function, found.text) == ("test_what_programs_store", 'raise KeyError("x")')
    place = {"function": "f", "line": 7, "text": "x = 1"}
    store.store_tool_execution(
        tool_name="u", success=False, failed_at=place, traceback="Traceback …\n", executed_at=NOW
    )
    (kept,) = store.listing.recent("u")
    assert json.loads(str(kept.failed_at)) == place
    assert kept.traceback == "Traceback …\n"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_file_of_executions(tmp_path: Path, store: ExecutionStore, form: Any) -> None:
    """Files of JSON lines and CSV hold both fields."""
    place = {"function": "f", "line": 7, "text": "x = 1"}
    text = json.dumps({"tool_name": "t", "success": False, "failed_at": place, "traceback": "Traceback"})
    if form == "csv":
        quoted = json.dumps(place).replace('"', '""')
        text = f'tool_name,success,failed_at,traceback\nt,false,"{quoted}",Traceback\n'
    file = tmp_path / f"x.{form}"
    file.write_text(text)
    with file.open("rb") as opened:
        store.store_tool_executions(Source("x", opened, 0).executions(form))
    kept = latest(store)
    assert frame_of(kept.failed_at) == Frame("f", 7, "x = 1")
    assert kept.traceback == "Traceback"


def test_a_call_that_succeeded_notes_nothing_more() -> None:
    """The note of a successful call is as short as before: the two fields are left out of it."""
    note = ("my_tool", True, 1.0, None, None, None, None, NOW.timestamp(), None, None, None, None)
    assert complete_call(note, Payloads(True, 100, None))[-2:] == (None, None)


@pytest.mark.parametrize(
    "text", [None, "x", "[]", "{}", '{"function": "f"}', '{"function": 1, "line": "x", "text": 2}']
)
def test_what_another_program_wrote(text: str | None) -> None:
    """A place that cannot be read is none."""
    assert frame_of(text) is None
