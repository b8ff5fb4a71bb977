"""Tools that share an actuator, such as those of one server or image: one request restores all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import Rollguard
from rollguard.errors import ActuatorFailed, InvalidInput, InvalidSetting
from rollguard.registry.deploy.actuators import Request, SharedActuator
from rollguard.settings import NotifySettings, Settings
from tests.conftest import NOW

HOUR = timedelta(hours=1)
TOOLS = ("git_diff", "git_log", "git_status")


class Server:
    """A target that runs one image; it can be away."""

    kind, patience = "command", 5.0

    def __init__(self) -> None:
        self.away, self.asked = False, list[Request]()

    def put(self, request: Request) -> str | None:
        self.asked.append(request)
        if self.away:
            raise ActuatorFailed("it is down", "")
        return f"runs {request.version.code.decode()}"

    @property
    def ran(self) -> list[tuple[str, bytes, str]]:
        return [(one.action, one.version.code, one.label) for one in self.asked]


class Story:
    """Three tools of a server, released in version 1 two days ago, and one in the folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.server = Server()
        self.guard = Rollguard(Settings(database=url, tools_dir=folder, follow=False, notify=NotifySettings(log=False)))
        self.store = self.guard.store
        self.guard.registry.remote._actuators |= dict.fromkeys(TOOLS, SharedActuator("git", self.server, TOOLS))
        self.release("v1", "image:1", NOW - timedelta(days=3), watch=False)
        for tool in TOOLS:
            self.calls(tool, 200, 4, at=NOW - timedelta(days=2))

    def release(self, label: str, image: str, at: Any = NOW, **options: Any) -> Any:
        return self.guard.release(label, dict.fromkeys(TOOLS, image), released_at=at, **options)

    def calls(self, tool: str, total: int, failures: int, *, at: Any = NOW + HOUR) -> None:
        self.store.store_tool_executions(
            {
                "tool_name": tool,
                "success": (i * failures) // total == ((i + 1) * failures) // total,
                "duration_ms": 10.0,
                "executed_at": at + timedelta(seconds=i),
            }
            for i in range(total)
        )

    def cycle(self, hours: float = 2) -> None:
        asyncio.run(self.guard.loop.check_deployment_health(now=NOW + timedelta(hours=hours)))

    def live(self) -> list[int | None]:
        return [one and one.version_number for one in (self.store.versions.live(tool) for tool in TOOLS)]


@pytest.fixture
def story(url: str, tools_dir: Path) -> Iterator[Story]:
    """A server under watch, and a clock."""
    told = Story(url, tools_dir)
    yield told
    told.guard.close()


def test_one_request_releases_and_restores_all(story: Story) -> None:
    """The server is asked once for the release, and once for its rollback, with the label and all tools."""
    story.release("v2", "image:2")
    story.calls("git_log", 60, 40)
    story.cycle()
    assert story.live() == [1, 1, 1]
    assert story.server.ran == [
        ("deploy", b"image:1", "v1"),
        ("deploy", b"image:2", "v2"),
        ("rollback", b"image:1", "v1"),
    ]
    assert {one.tools for one in story.server.asked} == {TOOLS}
    rollbacks = story.store.rollbacks.recent()
    assert {(one.tool_name, one.state, one.output) for one in rollbacks} == {
        (tool, "finished", "runs image:1") for tool in TOOLS
    }


def test_a_server_that_is_away_is_asked_until_it_acknowledges_once(story: Story) -> None:
    """Nothing is recorded as restored before the server says so; then one answer ends all rollbacks."""
    story.release("v2", "image:2")
    story.server.away = True
    story.calls("git_log", 60, 40)
    story.cycle()
    assert story.live() == [2, 2, 2]
    story.server.away, before = False, len(story.server.asked)
    story.cycle(9)
    assert story.live() == [1, 1, 1]
    assert len(story.server.asked) == before + 1
    assert len({one.key for one in story.server.asked if one.action == "rollback"}) == 1


def test_a_release_that_the_server_refuses_is_settled_by_one_request(story: Story) -> None:
    """After a refusal nothing is live, and one request asks for what was live before."""
    story.server.away = True
    with pytest.raises(ActuatorFailed):
        story.release("v2", "image:2")
    story.server.away = False
    story.cycle()
    assert (story.live(), story.server.ran[2:]) == ([1, 1, 1], [("settle", b"image:1", "v1")])


def test_its_tools_go_live_and_back_together_only(story: Story) -> None:
    """One of the tools alone is neither deployed nor rolled back, and the message says what to do."""
    story.release("v2", "image:2")
    for alone in (
        lambda: story.guard.deploy("git_log", "image:3"),
        lambda: story.guard.release("v3", {"git_log": "image:3"}),
        lambda: story.guard.monitor.roll_back("git_log", reason="r"),
        lambda: story.guard.registry.restore("git_log", 1),
    ):
        with pytest.raises(InvalidInput, match="shares the actuator git with git_diff, git_status"):
            alone()
    story.guard.monitor.roll_back_release("v2", reason="r", now=NOW + HOUR)
    assert (story.live(), story.server.ran[-1]) == ([1, 1, 1], ("rollback", b"image:1", "v1"))


def test_the_settings_name_it(tmp_path: Path) -> None:
    """`[actuators.NAME]` names the tools; each of them has one actuator, and it cannot be the folder."""
    file = tmp_path / "rollguard.toml"
    file.write_text('[actuators.git]\nkind = "command"\ncommand = ["x", "{tools}"]\ntools = ["a", "b"]\n')
    guard = Rollguard.from_settings(file, environ={})
    actuator = guard.registry.remote.shared("b")
    assert actuator is not None
    assert (actuator.name, actuator.kind, actuator.tools) == ("git", "command", ("a", "b"))
    guard.close()
    for text, says in (
        ('[actuators.git]\ntools = ["a"]\n', "actuators.git.kind"),
        ('[actuators.git]\nkind = "command"\ncommand = ["x"]\n', "actuators.git.tools"),
        (
            '[tools.a.actuator]\nkind = "command"\ncommand = ["x"]\n'
            '[actuators.git]\nkind = "command"\ncommand = ["x"]\ntools = ["a"]\n',
            "a has another actuator, in \\[tools.a.actuator\\]",
        ),
    ):
        file.write_text(text)
        with pytest.raises(InvalidSetting, match=says):
            Settings.load(file, {})
