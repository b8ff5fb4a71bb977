"""Agents of three frameworks, with models that need no network, while their tool is deployed and rolled back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rollguard import Rollguard
from tests.agents.helpers import CALLS, deploy_with, was_rolled_back_and_recovered
from tests.registry.helpers import executions

pytestmark = pytest.mark.agents

Run = Callable[..., dict[str, Any]]
PROGRAMS = ("pydantic_ai_agent.py", "openai_agents_agent.py", "langgraph_agent.py")


@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_bad_version_is_rolled_back(program: str, run: Run) -> None:
    """The agent goes on over a version that fails; that is rolled back, and the agent's calls show the recovery."""
    names = run(program)
    guard: Rollguard = names["guard"]

    async def answers() -> set[str]:
        return {await names["ask"]("How much?") for _ in range(CALLS)}

    assert await answers() == {"The tool said: 12.3"}
    deploy_with(guard, "parcel_price", "BASE[country]", "BASE[country.lower()]")
    assert "The tool said: 12.3" not in await answers()
    assert (await guard.loop.check_deployment_health())["rollbacks_triggered"] == 1
    assert await answers() == {"The tool said: 12.3"}
    await guard.loop.check_deployment_health()
    was_rolled_back_and_recovered(guard, "parcel_price")


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_recorded(program: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The program runs as it is printed; its call is recorded with the parameters that the model gave."""
    names = run(program, "__main__")
    assert capsys.readouterr().out == "The tool said: 12.3\n"
    (row,) = executions(names["guard"].store)
    assert (row["tool_name"], row["parameters"], row["result"]) == (
        "parcel_price",
        {"weight_kg": 2.0, "country": "NO"},
        12.3,
    )
