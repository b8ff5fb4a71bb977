"""Releases: several tools go live together, are judged each alone at alpha/T, and are rolled back as one."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, Rollguard, ToolRegistry
from rollguard.errors import ActuatorFailed, CodeQuarantined, NoEarlierVersion, ReleaseConflict, UnknownVersion
from rollguard.registry.deploy.actuators import Request
from rollguard.settings import NotifySettings, Settings
from tests.conftest import NOW, code
from tests.contract.sql import ask

HOUR = timedelta(hours=1)
TOOLS = ("alpha", "beta", "gamma")


class Story:
    """A system with three tools in version 1, whose calls of two days succeed."""

    def __init__(self, url: str, folder: Path) -> None:
        self.guard = opened(url, folder)
        self.store, self.folder = self.guard.store, folder
        for tool in TOOLS:
            self.guard.deploy(tool, code(1, tool), deployed_at=NOW - timedelta(days=3), watch=False)
            self.calls(tool, 200, 4, at=NOW - timedelta(days=2))

    def calls(self, tool: str, total: int, failures: int, *, at: Any = NOW + HOUR) -> None:
        """Record calls of the version that is live; a failure comes every so often."""
        self.store.store_tool_executions(
            {
                "tool_name": tool,
                "success": (i * failures) // total == ((i + 1) * failures) // total,
                "duration_ms": 10.0,
                "executed_at": at + timedelta(seconds=i),
            }
            for i in range(total)
        )

    def release(self, label: str = "v2", version: int = 2, tools: tuple[str, ...] = TOOLS, **options: Any) -> Any:
        return self.guard.release(label, {t: code(version, t) for t in tools}, released_at=NOW, **options)

    def cycle(self, hours: float = 2) -> None:
        asyncio.run(self.guard.loop.check_deployment_health(now=NOW + timedelta(hours=hours)))

    def live(self, *tools: str) -> list[int | None]:
        found = [self.store.versions.live(tool) for tool in tools or TOOLS]
        return [one and one.version_number for one in found]

    def held(self, tool: str) -> bytes | None:
        return self.guard.registry.folder.read(tool)

    def rollbacks(self) -> dict[str, tuple[str, int | None, bool]]:
        return {r.tool_name: (r.state, r.to_version, r.quarantines) for r in self.store.rollbacks.recent()}


def opened(url: str, folder: Path) -> Rollguard:
    """The system, as a process opens it."""
    return Rollguard(Settings(database=url, tools_dir=folder, follow=False, notify=NotifySettings(log=False)))


@pytest.fixture
def story(url: str, tools_dir: Path) -> Iterator[Story]:
    """Three tools under watch, and a clock."""
    told = Story(url, tools_dir)
    yield told
    told.guard.close()


def test_one_of_three_tools_regresses_and_all_go_back(story: Story, url: str) -> None:
    """A package of three tools of which one regresses is rolled back as one, and only that one is to blame."""
    done = story.release(metadata={"image": "tools:2"}, reason="a refactoring")
    assert (done.new, done.changed, story.live()) == (True, TOOLS, [2, 2, 2])
    rules = [session.rules for session in story.guard.monitor.get_active_sessions()]
    assert {(r.decision, r.alpha) for r in rules} == {("evidence", 0.05 / 3)}
    for tool in TOOLS:
        story.calls(tool, 60, 30 if tool == "beta" else 1)
    story.cycle()
    assert story.live() == [1, 1, 1]
    assert [story.held(tool) for tool in TOOLS] == [code(1, tool).encode() for tool in TOOLS]
    assert story.rollbacks() == {t: ("finished", 1, t == "beta") for t in TOOLS}
    assert {s.tool_name: s.status for s in story.store.sessions.recent()} == {
        "alpha": "superseded",
        "beta": "rolled_back",
        "gamma": "superseded",
    }
    assert [held.tool_name for held in story.store.quarantine.in_force()] == ["beta"]
    cause = next(r for r in story.store.rollbacks.recent(tool_name="beta"))
    assert "release v2 is rolled back as one, with it alpha, gamma" in cause.reason
    assert story.store.releases.get("v2").state == "rolled_back"
    by_tool = {row["tool_name"]: row for row in ask(url, "SELECT * FROM deployment_stability")}
    assert {t: (by_tool[t]["total_deployments"], by_tool[t]["total_rollbacks"]) for t in TOOLS} == {
        "alpha": (1, 0),
        "beta": (1, 1),
        "gamma": (1, 0),
    }
    stable = {row["tool_name"]: row["rollbacks"] for row in story.store.reports.version_stability()}
    assert stable == {"alpha": 0, "beta": 1, "gamma": 0}
    with pytest.raises(CodeQuarantined):
        story.release("v3", 2)
    again = story.release("v4", 2, ("alpha", "gamma"))
    (alpha,) = story.store.baselines.of([story.guard.monitor.get_session(again.sessions["alpha"])], NOW + 3 * HOUR)
    assert alpha.left_out is not None
    assert alpha.left_out.every_version == ()
    (beta,) = [d for d in story.store.versions.deployments("beta") if d.ended_by == "rollback"]
    assert beta.release_id == done.release_id


def test_two_tools_that_regress_are_both_to_blame(story: Story) -> None:
    """Whichever of two watchers comes first claims the release once, and both tools that regressed are quarantined."""
    story.release()
    for tool in TOOLS:
        story.calls(tool, 60, 1 if tool == "gamma" else 40)
    later = NOW + 2 * HOUR
    with opened(str(story.guard.settings.database), story.folder) as other:
        sessions = story.guard.monitor.get_active_sessions()
        reports = other.monitor._checker.check(sessions, later)
        taken = [
            watcher.monitor.session_checks._actions.take(report, later)
            for watcher, report in zip((story.guard, other), reports[:2], strict=True)
        ]
    assert [(one.rollback_performed, one.refusal) for one in taken] == [
        (True, None),
        (False, "session 2 of beta is rolled_back"),
    ]
    assert story.rollbacks() == {t: ("finished", 1, t != "gamma") for t in TOOLS}
    assert sorted(held.tool_name for held in story.store.quarantine.in_force()) == ["alpha", "beta"]


def test_the_threshold_alone_rolls_no_release_back(story: Story) -> None:
    """A drop that would roll a single deployment back is no evidence at alpha/T, so the release stays."""
    story.release()
    story.calls("alpha", 12, 2)
    story.cycle()
    assert story.live() == [2, 2, 2]


def test_a_tool_that_the_release_added_is_withdrawn(story: Story) -> None:
    """What the release added is withdrawn with it: no file, no live version, and nobody adopts it by finding it."""
    done = story.guard.release("v2", {t: code(2, t) for t in ("alpha", "delta")}, released_at=NOW)
    assert done.added == ("delta",)
    assert story.guard.registry.call("delta", x=1) == 3
    story.calls("alpha", 60, 40)
    story.cycle()
    assert story.live("alpha", "delta") == [1, None]
    assert story.held("delta") is None
    assert story.rollbacks()["delta"] == ("finished", None, False)
    (story.folder / "delta.py").write_text(code(2, "delta"))
    with opened(str(story.guard.settings.database), story.folder) as other:
        assert other.store.versions.live("delta") is None
        with pytest.raises(Exception, match="was withdrawn with the release"):
            other.registry.call("delta", x=1)
    story.guard.deploy("delta", code(3, "delta"))
    assert story.live("delta") == [2]


def test_a_tool_that_a_person_fixed_meanwhile_is_left_and_named(story: Story) -> None:
    """A tool that was deployed or edited since the release stays as it is, and the reason or the journal says so."""
    story.release()
    story.guard.deploy("gamma", code(9, "gamma"), created_by="ada", deployed_at=NOW + HOUR)
    (story.folder / "alpha.py").write_text(code(8, "alpha"))
    story.calls("beta", 60, 40)
    story.cycle()
    assert story.live("beta", "gamma") == [1, 3]
    assert story.held("alpha") == code(8, "alpha").encode()
    (cause,) = story.store.rollbacks.recent(tool_name="beta")
    assert "left as they are: gamma (version 3 is live since, by ada)" in cause.reason
    (alpha,) = story.store.rollbacks.recent(tool_name="alpha")
    assert (alpha.state, alpha.error) == ("overtaken", "its file was edited since, so it stays as it is")


def test_a_withdrawn_tool_goes_from_other_machines_too(story: Story, tmp_path: Path) -> None:
    """A folder that follows removes the file of a tool that was withdrawn elsewhere, unless it holds other code."""
    story.guard.release("v2", {t: code(2, t) for t in ("alpha", "delta", "omega")}, released_at=NOW)
    there = tmp_path / "there"
    there.mkdir()
    (there / "delta.py").write_text(code(2, "delta"))
    (there / "omega.py").write_text(code(5, "omega"))
    store = ExecutionStore(str(story.guard.settings.database))
    registry = ToolRegistry(there, store=store)
    story.guard.monitor.roll_back_release("v2", reason="r", now=NOW + HOUR)
    assert registry._replica is not None
    registry._replica.catch_up(threading.Event())
    assert (registry.folder.read("delta"), registry.folder.read("omega")) == (None, code(5, "omega").encode())
    registry.close()
    store.close()


class Target:
    """A target that can be away; it runs what it was told last."""

    kind, patience = "command", 5.0

    def __init__(self) -> None:
        self.away, self.runs, self.asked = False, list[int](), itertools.count()

    def put(self, request: Request) -> str | None:
        next(self.asked)
        if self.away:
            raise ActuatorFailed("it is down", "")
        self.runs.append(request.version.version_number)
        return "done"


def _with_targets(story: Story, targets: dict[str, Target]) -> None:
    story.guard.registry.remote._actuators.update(targets)


def test_a_target_that_is_down_is_asked_until_it_acknowledges(story: Story) -> None:
    """Of two targets one is down when the release is rolled back: it is asked again until both run version 1."""
    up, down = Target(), Target()
    _with_targets(story, {"alpha": up, "beta": down})
    story.release()
    down.away = True
    story.calls("alpha", 60, 40)
    story.cycle()
    assert story.live() == [1, 2, 1]
    assert (up.runs, down.runs) == ([2, 1], [2])
    story.cycle(3)
    down.away = False
    story.cycle(9)
    assert story.live() == [1, 1, 1]
    assert (up.runs, down.runs) == ([2, 1], [2, 1])
    assert {state for state, *_ in story.rollbacks().values()} == {"finished"}


def test_a_file_that_cannot_be_written_holds_nothing_else_up(story: Story) -> None:
    """One tool's file that cannot be restored keeps its rollback open; the others are back, and it follows."""
    story.release()
    story.calls("alpha", 60, 40)
    (story.folder / "gamma.py").unlink()
    (story.folder / "gamma.py").mkdir()
    story.cycle()
    assert story.live() == [1, 1, 2]
    assert story.rollbacks()["gamma"][0] == "claimed"
    (story.folder / "gamma.py").rmdir()
    story.cycle(3)
    assert story.live() == [1, 1, 1]
    assert story.held("gamma") == code(1, "gamma").encode()


def test_a_release_that_a_target_refuses_does_not_happen(story: Story) -> None:
    """Where one target does not acknowledge, no tool goes live, and each target is asked for its live version again."""
    up, down = Target(), Target()
    _with_targets(story, {"alpha": up, "beta": down})
    down.away = True
    with pytest.raises(ActuatorFailed):
        story.release()
    assert story.live() == [1, 1, 1]
    assert story.held("gamma") == code(1, "gamma").encode()
    assert story.store.releases.find("v2") is None
    down.away = False
    story.cycle()
    assert (up.runs[-1], down.runs) == (1, [1])


def test_a_label_is_released_once(story: Story) -> None:
    """The same label with the same code changes nothing, even after a rollback; with other code it is refused."""
    story.release()
    with opened(str(story.guard.settings.database), story.folder) as other:
        again = other.release("v2", {t: code(2, t) for t in TOOLS})
    assert (again.new, again.state, story.live()) == (False, "live", [2, 2, 2])
    story.guard.monitor.roll_back_release("v2", reason="by hand", now=NOW + HOUR)
    again = story.release()
    assert (again.new, again.state, story.live()) == (False, "rolled_back", [1, 1, 1])
    with pytest.raises(ReleaseConflict, match="with other code of alpha; give another label"):
        story.release("v2", 3, ("alpha",))


def test_a_person_rolls_a_release_back(story: Story) -> None:
    """By hand all tools go back, nothing is quarantined, and a second time there is nothing left to do."""
    story.release()
    rollbacks, left = story.guard.monitor.roll_back_release("v2", reason="by hand", now=NOW + HOUR)
    assert [(r.tool_name, r.state, r.rollback_type) for r in rollbacks] == [(t, "finished", "manual") for t in TOOLS]
    assert (left, story.live(), story.store.quarantine.in_force()) == ([], [1, 1, 1], [])
    with pytest.raises(NoEarlierVersion, match="version 1 is live since"):
        story.guard.monitor.roll_back_release("v2", reason="again")


def test_nothing_of_a_release_with_a_bad_file_goes_live(story: Story) -> None:
    """One tool that does not load refuses the whole release, and no version is stored."""
    with pytest.raises(Exception, match="SyntaxError"):
        story.guard.release("v2", {"alpha": code(2, "alpha"), "beta": "def beta(:"})
    assert (story.live(), len(story.store.versions.history("alpha"))) == ([1, 1, 1], 1)


def test_a_cancelled_session_calls_the_whole_rollback_off(story: Story) -> None:
    """A person who cancels the session that decided keeps the whole release, if nothing was restored yet."""
    done = story.release()
    story.calls("beta", 60, 40)
    session = story.guard.monitor.get_session(done.sessions["beta"])
    story.guard.monitor.check_health("beta", session.session_id, now=NOW + 2 * HOUR)
    actions = story.guard.monitor.session_checks._actions
    (report,) = story.guard.monitor._checker.check([session], NOW + 2 * HOUR)
    story.guard.monitor.runner.claim(actions._intention(session, report.judgement), NOW + 2 * HOUR)
    assert len(story.store.rollbacks.open()) == 3
    story.guard.monitor.cancel_monitoring(session.session_id, now=NOW + 2 * HOUR)
    story.cycle(3)
    assert (story.live(), story.store.releases.get("v2").state) == ([2, 2, 2], "live")


def test_a_label_stands_for_a_version(story: Story) -> None:
    """Where a version's number may stand, a label may, of a tool that the release did not change too."""
    story.guard.deploy("alpha", code(2, "alpha"), watch=False)
    story.release()
    versions = story.guard.versions
    assert versions.get_version("alpha", "v2").version_number == 2
    assert versions.compare_versions("beta", 1, "v2").lines_added == 1
    assert story.store.releases.labels("alpha") == {2: ("v2",)}
    story.guard.deploy("beta", code(5, "beta"), watch=False)
    assert story.guard.monitor.roll_back("beta", to_version="v2", reason="r").to_version == 2
    with pytest.raises(UnknownVersion, match="has no version v9"):
        versions.get_version("alpha", "v9")


Pod = Callable[..., Any]


@pytest.fixture
def pod(url: str, tmp_path: Path) -> Iterator[Pod]:
    """Starts a program with one function, as an image with this label has it."""
    running = []

    def start(label: str, *, fails: bool = False, previous: bool = False, at: Any = NOW) -> tuple[Rollguard, Any, Any]:
        guard = opened(url, tmp_path / f"pod-{len(running)}")
        running.append(guard)

        def before(x: int = 0) -> str:
            return "before"

        def work(x: int = 0) -> str:
            if fails:
                raise ValueError("no")
            return label

        function = guard.tool(name="work", previous=before if previous else None)(work)
        return guard, function, guard.release(label, released_at=at)

    yield start
    for guard in running:
        guard.close()


def _work(guard: Rollguard, total: int, failures: int, version: int | None, at: Any) -> None:
    guard.store.store_tool_executions(
        {"tool_name": "work", "success": i >= failures, "version_number": version, "executed_at": at}
        for i in range(total)
    )


def test_pods_with_old_and_new_images_start_in_turn(pod: Pod) -> None:
    """Old and new images on one store, restarting in turn: one release a label, and no version goes live again."""
    for turn in range(6):
        guard, work, released = pod("v1" if turn % 2 else "v2", at=NOW + turn * HOUR)
        assert released.new is (turn < 2)
        work()
        guard.registry.recorder.flush()
    assert [release.label for release in guard.store.releases.recent()] == ["v1", "v2"]
    assert [d.version_number for d in guard.store.versions.deployments("work")] == [2, 1]
    counted = {row.version_number: row.executions for row in guard.versions.get_version_history("work")}
    assert counted == {1: 3, 2: 3}


def test_a_function_without_a_way_back_is_reported(pod: Pod) -> None:
    """A program's function that regresses stays, and report, record and alert say why; once."""
    pod("v1", at=NOW - timedelta(days=3))
    guard, _fn, released = pod("v2")
    assert released.no_way_back == ("work",)
    _work(guard, 100, 1, 1, NOW - HOUR)
    _work(guard, 60, 40, 2, NOW + HOUR)
    report = guard.monitor.auto_rollback_if_needed("work", released.sessions["work"], now=NOW + 2 * HOUR)
    guard.monitor.auto_rollback_if_needed("work", released.sessions["work"], now=NOW + 3 * HOUR)
    assert (report["rollback_performed"], report["needs_rollback"]) == (False, True)
    assert report["reason"] == (
        "work was not rolled back: a function of a program without a previous one; put the image from before v2 back"
    )
    assert [r.state for r in guard.store.rollbacks.recent()] == ["failed"]
    with pytest.raises(NoEarlierVersion, match="put the image from before v2 back"):
        guard.monitor.roll_back("work", reason="r")


def test_a_function_with_its_previous_one_goes_back_inside_each_process(pod: Pod) -> None:
    """With `previous`, every process runs it after the rollback, and its calls count for the version before."""
    pod("v1", at=NOW - timedelta(days=3))
    pods = [pod("v2", fails=True, previous=True) for _ in range(2)]
    guard, _fn, released = pods[0]
    _work(guard, 100, 1, 1, NOW - HOUR)
    _work(guard, 60, 40, 2, NOW + HOUR)
    report = guard.monitor.auto_rollback_if_needed("work", released.sessions["work"], now=NOW + 2 * HOUR)
    assert report["rollback_performed"] is True
    for one, work, _released in pods:
        one.registry.program.refresh()
        assert work() == "before"
        one.registry.recorder.flush()
    assert not (guard.settings.tools_dir / "work.py").exists()
    late, work, again = pod("v2", fails=True, previous=True)
    assert (work(), again.state, again.new) == ("before", "rolled_back", False)
    late.registry.recorder.flush()
    counted = {row.version_number: row.executions for row in guard.versions.get_version_history("work")}
    assert counted == {1: 103, 2: 60}


def test_a_file_may_take_the_name_of_a_programs_function(pod: Pod) -> None:
    """Where a tool of the folder takes the name of a function, its rollback restores its own file again."""
    pod("v1", at=NOW - timedelta(days=3))
    guard, _fn, _released = pod("v2")
    for version in (1, 2):
        guard.deploy("work", code(version, "work"))
    assert guard.monitor.roll_back("work", reason="r").actuator == "folder"
    assert guard.registry.folder.read("work") == code(1, "work").encode()


def test_the_first_release_of_a_program_has_a_way_back(pod: Pod) -> None:
    """Where nothing was released before, `previous` is recorded as what was live, and is gone back to."""
    guard, work, released = pod("v1", fails=True, previous=True)
    assert [v.version_number for v in guard.store.versions.history("work")] == [2, 1]
    guard.monitor.roll_back_release("v1", reason="by hand", now=NOW + HOUR)
    guard.registry.program.refresh()
    assert work() == "before"
    assert released.no_way_back == ()
