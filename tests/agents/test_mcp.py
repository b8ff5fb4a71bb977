"""Tools of real MCP servers, over stdio, while they are deployed and rolled back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from rollguard import Rollguard
from tests.agents.helpers import CALLS, deploy_with, was_rolled_back_and_recovered
from tests.registry.helpers import executions

pytestmark = pytest.mark.agents

Run = Callable[..., dict[str, Any]]
GIT = {"repo_path": "."}
TIME = {"source_timezone": "UTC", "time": "16:30", "target_timezone": "Asia/Tokyo"}
GIVEN = {"git_status": GIT, "convert_time": TIME}
MISTAKES = {"git_status": ('{"repo_path": ', '{"path": '), "convert_time": ('"time": time', '"time": time + ":00"')}
SAYS = {"git_status": "On branch work", "convert_time": "T01:30:00+09:00"}


@pytest.fixture
def repository(run: Run) -> Run:
    """Runs a program in a folder that is a Git repository."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=work"], check=True)
    return run


async def test_bad_versions_are_rolled_back(repository: Run) -> None:
    """Versions that the servers answer with `isError` are rolled back; the callers got each answer of the servers."""
    names = repository("mcp_tools.py")
    guard: Rollguard = names["guard"]

    async def answers(tool_name: str) -> list[Any]:
        return [await guard.registry.acall(tool_name, **GIVEN[tool_name]) for _ in range(CALLS)]

    async with names["opened"]():
        for tool_name, says in SAYS.items():
            assert all(says in result.content[0].text for result in await answers(tool_name))
        for tool_name, (right, wrong) in MISTAKES.items():
            deploy_with(guard, tool_name, right, wrong)
            assert all(result.is_error for result in await answers(tool_name))
        assert (await guard.loop.check_deployment_health())["rollbacks_triggered"] == 2
        for tool_name, says in SAYS.items():
            assert all(says in result.content[0].text for result in await answers(tool_name))
        await guard.loop.check_deployment_health()

    for tool_name in SAYS:
        was_rolled_back_and_recovered(guard, tool_name)
        failed = executions(guard.store, tool_name)[CALLS]
        assert (failed["error_type"], failed["result"]["is_error"]) == ("ReturnedFailure", True)
        assert failed["error"].startswith(f"Error executing tool {tool_name}: ")


@pytest.mark.parametrize("dialect", ["sqlite"])
def test_the_program(repository: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The program runs as it is printed."""
    repository("mcp_tools.py", "__main__")
    assert "On branch work" in capsys.readouterr().out
