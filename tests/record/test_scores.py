"""Scores of answers: by the caller, by a function of the tool, in the store, and in a check."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, tool
from rollguard.errors import InvalidInput, StoreError
from tests.conftest import NOW

FILE = """
from rollguard import tool

@tool(score=lambda result: result / 10, is_failure=lambda result: result == 0)
def my_tool(x):
    return x
"""


def kept(store: ExecutionStore) -> list[float | None]:
    """The score of every execution, in the order of the calls."""
    return [one.score for one in reversed(store.listing.recent(limit=100))]


def test_a_tool_scores_its_results(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """A result is scored by the function of `@tool`, plain and async, in a registry's file and where it stands."""
    (tools_dir / "my_tool.py").write_text(FILE)

    @tool(store=store, score=lambda _result: 1)
    async def own() -> str:
        return "right"

    @tool(store=store, score=lambda result: 0.0 if result is None else None)
    def nothing(result: str | None = None) -> str | None:
        return result

    registry.call("my_tool", x=5)
    registry.call("my_tool", x=0)  # a failure is not scored
    asyncio.run(own())
    nothing()
    nothing("unknown")
    registry.recorder.flush()
    assert kept(store) == [0.5, None, 1.0, 0.0, None]


@pytest.mark.parametrize("wrong", [lambda _result: 2, lambda _result: True, lambda _result: "1", lambda _result: 1 / 0])
def test_a_wrong_score_is_logged(store: ExecutionStore, caplog: pytest.LogCaptureFixture, wrong: Any) -> None:
    """A function that raises, or gives no number from 0 to 1, leaves the call as it is: a success without a score."""

    @tool(store=store, score=wrong)
    def own() -> int:
        return 1

    with caplog.at_level(logging.ERROR):
        assert own() == 1
    (one,) = store.listing.recent()
    assert (one.success, one.score) == (True, None)
    assert "score of own" in caplog.text


def test_what_is_no_function_is_refused() -> None:
    """`@tool(score=...)` takes a function."""
    with pytest.raises(InvalidInput, match=r"score: 0\.5 is not a function"):
        tool(score=0.5)  # type: ignore[call-overload]


@pytest.mark.parametrize("wrong", ["1.5", "-0.1"])
def test_the_database_holds_scores_to_their_range(store: ExecutionStore, wrong: str) -> None:
    """Another program can store no score outside 0 to 1."""
    insert = f"INSERT INTO tool_executions (tool_name, success, score) VALUES ('t', TRUE, {wrong})"
    with pytest.raises(StoreError), store.database.write() as connection:
        connection.execute(sa.text(insert))


def test_a_check_rolls_back_worse_answers(
    monitor: DeploymentMonitor, registry: ToolRegistry, store: ExecutionStore
) -> None:
    """Answers that score lower by the threshold, with evidence, are reported, and roll back if that is wished."""
    for number in (1, 2):
        registry.deploy("my_tool", f"def my_tool(): return {number}", deployed_at=NOW + number * timedelta(hours=1))
    deployed = NOW + timedelta(hours=2)
    session = monitor.start_monitoring("my_tool", deployed, rollback_on_score=True)
    store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": True,
            "executed_at": deployed + timedelta(seconds=seconds),
            "version_number": 1 if seconds < 0 else 2,
            "score": 0.95 if seconds < 0 else 0.4,
        }
        for seconds in range(-600, 60)
    )
    report = monitor.check_health("my_tool", session, now=deployed + timedelta(minutes=2))
    found = report["scores"]
    assert (found["before"], found["now"], found["scored_before"], found["scored"]) == (0.95, 0.4, 600, 60)
    assert (found["dropped"], found["present"], report["needs_rollback"]) == (True, True, True)
    result = monitor.auto_rollback_if_needed("my_tool", session, now=deployed + timedelta(minutes=3))
    assert (result["rollback_performed"], result["rollback_type"]) == (True, "score")
    assert registry.call("my_tool") == 1
