"""Two versions of mcp-server-git's package as releases, put in place by a command, and rolled back under traffic."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import Rollguard
from tests.registry.helpers import executions

pytestmark = pytest.mark.agents

TOOLS = ("git_branch", "git_log", "git_status")
GIVEN: dict[str, dict[str, Any]] = {tool: {"repo_path": "."} for tool in TOOLS}
GIVEN["git_branch"]["branch_type"] = "local"
CALLS = 25
SETTINGS = """
[actuators.git]
kind = "command"
command = ["sh", "flip.sh", "{label}"]
tools = ["git_branch", "git_log", "git_status"]
"""
FLIP = """
set -e
ln -sfn "releases/$1" next && mv -T next current
[ ! -f server.pid ] || kill "$(cat server.pid)" 2>/dev/null || true
echo "runs $1"
"""
SERVE = f'echo $$ > server.pid; export PYTHONPATH="$PWD/current"; exec {sys.executable} -m mcp_server_git\n'


@pytest.fixture
def guard(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder with a repository, two copies of the server's package, one with a mistake, and the settings."""
    importlib.import_module("mcp.client.stdio")  # it keeps the sys.stderr of its import, which must not be a test's
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=work"], check=True)
    commit = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--allow-empty", "--quiet", "-m", "one"]
    subprocess.run(commit, check=True)
    spec = importlib.util.find_spec("mcp_server_git")
    assert spec is not None
    assert spec.origin is not None
    for label in ("v1", "v2"):
        package = tmp_path / "releases" / label / "mcp_server_git"
        shutil.copytree(Path(spec.origin).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    server = tmp_path / "releases" / "v2" / "mcp_server_git" / "server.py"
    right, wrong = "list(repo.iter_commits(**kwargs))", "list(repo.iter_commits(count=kwargs))"
    assert right in server.read_text()
    server.write_text(server.read_text().replace(right, wrong))
    for name, text in (("rollguard.toml", SETTINGS), ("flip.sh", FLIP), ("serve.sh", SERVE)):
        (tmp_path / name).write_text(text)
    with Rollguard.from_settings(tmp_path / "rollguard.toml", {"ROLLGUARD_DATABASE": url}) as opened:
        yield opened


class Agent:
    """Calls the server's tools in turn, over stdio, and starts the server again when it is gone."""

    def __init__(self, guard: Rollguard) -> None:
        self._store = guard.store
        self.called: Counter[tuple[str, str]] = Counter()
        self.news = asyncio.Condition()

    async def work(self) -> None:
        """Call the tools until it is cancelled."""
        from mcp import Client, StdioServerParameters

        server = StdioServerParameters(command="sh", args=["serve.sh"], env=dict(os.environ))
        while True:
            with contextlib.suppress(Exception):  # the server was ended; the call is made again, of the next one
                async with Client(server) as client:
                    label = Path("current").readlink().name
                    while True:
                        for tool in TOOLS:
                            await self._call(client, label, tool)

    async def _call(self, client: Any, label: str, tool: str) -> None:
        began = datetime.now(UTC)
        result = await client.call_tool(tool, GIVEN[tool])
        await asyncio.to_thread(
            self._store.store_tool_execution,
            tool_name=tool,
            success=not result.is_error,
            duration_ms=(datetime.now(UTC) - began).total_seconds() * 1000.0,
            error=result.content[0].text if result.is_error else None,
            executed_at=began,
            version_number=self._store.versions.get(tool, label).version_number,
        )
        async with self.news:
            self.called[label, tool] += 1
            self.news.notify_all()

    async def has_called(self, label: str, more: int) -> None:
        """Wait until each tool of a release was called so often again."""
        before = {tool: self.called[label, tool] for tool in TOOLS}
        async with self.news:
            await self.news.wait_for(lambda: all(self.called[label, t] >= before[t] + more for t in TOOLS))


async def test_a_server_s_package_is_rolled_back_under_traffic(guard: Rollguard) -> None:
    """The command is asked once for all tools of the server; the agent's calls go on, and succeed again."""

    async def release(label: str, **options: Any) -> None:
        package = Path("releases") / label / "mcp_server_git"
        tools = dict.fromkeys(TOOLS, package)
        await asyncio.to_thread(guard.release, label, tools, metadata={"package": "mcp-server-git"}, **options)

    await release("v1", released_at=datetime.now(UTC) - timedelta(hours=1), watch=False)
    agent = Agent(guard)
    working = asyncio.create_task(agent.work())
    try:
        async with asyncio.timeout(300):
            await agent.has_called("v1", CALLS)
            await release("v2")
            await agent.has_called("v2", CALLS)
            done = await guard.loop.check_deployment_health()
            assert done["rollbacks_triggered"] == 1
            await agent.has_called("v1", CALLS)
            await guard.loop.check_deployment_health()
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    rollbacks = {one.tool_name: one for one in guard.store.rollbacks.recent()}
    assert {(name, one.state, one.to_version, one.output) for name, one in rollbacks.items()} == {
        (tool, "finished", 1, "runs v1\n") for tool in TOOLS
    }
    assert [tool for tool, one in rollbacks.items() if one.quarantines] == ["git_log"]
    assert guard.store.releases.get("v2").state == "rolled_back"
    assert "iter_commits(count=kwargs)" in guard.versions.compare_versions("git_log", "v1", "v2").diff
    rows = executions(guard.store, "git_log")
    assert {(row["version_number"], row["success"]) for row in rows} == {(1, True), (2, False)}
    assert rows[-1]["version_number"] == 1
    assert all(row["success"] for tool in ("git_branch", "git_status") for row in executions(guard.store, tool))
    assert rollbacks["git_log"].investigation is not None
