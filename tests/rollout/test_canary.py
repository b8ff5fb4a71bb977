"""A rollout from its deployment to its end, by the public methods."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, request
from rollguard.errors import BreakingChange, CodeQuarantined, DeploymentConflict, InvalidInput, ReleaseConflict
from rollguard.judge import TIMED_OUT
from rollguard.loop.stages import RolloutsStage
from rollguard.model.in_flight import CallInFlight
from rollguard.model.split import Arm, Drawn
from tests.conftest import NOW, Guard, code
from tests.rollout.helpers import HOUR, MINUTE, Beside


def test_a_good_version_is_promoted(guard: Guard) -> None:
    """The share rises stage by stage, the last one promotes, and the session goes on with the counts of both."""
    beside = Beside(guard)
    assert beside.states == ("ramping", "active", 1)
    for share in (0.1, 0.25, 0.5):
        assert beside.rollout.ramp.share == share
        beside.calls(200, new=0.05, old=0.05, over=HOUR)
        report = beside.check()
    assert beside.states == ("promoted", "active", 2)
    assert beside.served() == {2}
    session = guard.session(beside.session_id)
    assert session.deployment_time == NOW
    assert report["rollout"]["state"] == "ramping"  # as it was when the check counted
    after = guard.monitor.check_health("my_tool", beside.session_id, now=beside.at + MINUTE)
    assert after["rollout"]["state"] == "promoted"
    assert after["evidence"]["alpha"] == 0.025
    assert sum(arm["units"] for arm in after["rollout"]["arms"].values()) == 600
    assert [d.version_number for d in guard.store.versions.deployments("my_tool")] == [2, 1]


def test_evidence_ends_it(guard: Guard) -> None:
    """A bad version is rolled back: the old one serves all, its code is in quarantine, and there is one rollback."""
    beside = Beside(guard)
    report = {"rollback_performed": False}
    for _ in range(20):
        beside.calls(20, new=1.0, old=0.05, over=MINUTE)
        report = beside.check()
        if report["rollback_performed"]:
            break
    assert report["rollback_performed"]
    assert report["rollback_type"] == "concurrent"
    assert "beside each other" in report["reason"]
    assert beside.states == ("rolled_back", "rolled_back", 1)
    (rollback,) = guard.store.rollbacks.recent()
    assert (rollback.from_version, rollback.to_version, rollback.state) == (2, 1, "finished")
    assert rollback.rollout_id == beside.rollout.rollout_id
    assert beside.served() == {1}
    with pytest.raises(CodeQuarantined):
        guard.registry.deploy("my_tool", code(2))
    assert [d.version_number for d in guard.store.versions.deployments("my_tool")] == [1]


def test_an_outage_ends_nothing(guard: Guard) -> None:
    """While both versions fail alike, the share is held, and nothing is rolled back."""
    beside = Beside(guard, rollout_limit_hours=20.0)
    beside.calls(200, new=0.05, old=0.05)
    beside.check()
    beside.calls(400, new=0.9, old=0.9)
    assert not beside.check()["rollback_performed"]
    assert beside.states == ("frozen", "active", 1)


def test_it_thaws_and_ends_at_its_limit(guard: Guard) -> None:
    """A frozen rollout goes on when nothing spoke against it for a stage's time; one that does not ends unproven."""
    beside = Beside(guard, [0.5], rollout_stage_minutes=10.0)
    beside.calls(60, new=1.0, old=1.0, over=MINUTE)
    beside.check()
    assert beside.states[0] == "frozen"
    beside.calls(2_000, new=0.0, old=0.0, over=MINUTE)
    beside.check()
    assert beside.states[0] == "frozen"
    beside.check(MINUTE * 11)
    assert beside.states[0] in ("ramping", "promoted")
    other = beside.check(HOUR * 12)
    assert other["session_status"] in ("completed", "active")


def test_the_time_limit(guard: Guard) -> None:
    """Without enough calls it ends as unproven on the old version, and so does its session."""
    beside = Beside(guard)
    assert beside.check(HOUR * 12)["session_status"] == "completed"
    assert beside.states == ("unproven", "completed", 1)
    assert guard.session(beside.session_id).outcome == "unproven"
    assert beside.served() == {1}


def test_by_hand(guard: Guard) -> None:
    """A person pauses, resumes, promotes and aborts; nothing happens to a tool without a rollout."""
    beside, rollouts = Beside(guard), guard.monitor.rollouts
    by = {"by": "a person", "reason": None, "now": NOW + MINUTE}
    rollouts.pause("my_tool", **by)
    assert beside.states[0] == "paused"
    rollouts.resume("my_tool", **by)
    rollouts.promote("my_tool", **by)
    assert beside.states == ("promoted", "active", 2)
    assert beside.served() == {2}
    for method in (rollouts.pause, rollouts.resume, rollouts.promote, rollouts.abort):
        with pytest.raises(InvalidInput, match="under no rollout"):
            method("my_tool", **by)


def test_aborted(guard: Guard) -> None:
    """An aborted rollout leaves the old version, without quarantine."""
    beside = Beside(guard)
    guard.monitor.rollouts.abort("my_tool", by="a person", reason="not today", now=NOW + MINUTE)
    assert beside.states == ("aborted", "cancelled", 1)
    assert beside.served() == {1}
    assert guard.store.quarantine.in_force() == []


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_deployment_ends_it(guard: Guard, version: int) -> None:
    """Any deployment ends it as superseded: of a third version, of the new one, and of the old one."""
    beside = Beside(guard)
    guard.registry.deploy("my_tool", code(version), deployed_at=NOW + MINUTE)
    assert beside.states == ("superseded", "superseded", version)
    assert beside.served() == {version}


def test_the_same_code_again_changes_nothing(guard: Guard) -> None:
    """Deploying the new version with the rollout again, as CI does, continues it."""
    beside = Beside(guard)
    watch = guard.monitor.watch("my_tool", now=NOW + MINUTE)
    assert guard.registry.deploy("my_tool", code(2), watch=watch, rollout=[0.5]) == 2
    assert (beside.states, watch.session) == (("ramping", "active", 1), None)


def test_a_release_that_holds_the_tool(guard: Guard) -> None:
    """It is refused and changes nothing; with `replace` it ends the rollout, also where it keeps the old version."""
    beside = Beside(guard)
    with pytest.raises(ReleaseConflict, match="rollout of version 2"):
        guard.registry.release("v1", {"my_tool": code(3), "other": code(1, "other")})
    assert (beside.states, guard.store.releases.find("v1")) == (("ramping", "active", 1), None)
    guard.registry.release("v1", {"my_tool": code(1), "other": code(1, "other")}, replace=True)
    assert beside.states == ("superseded", "superseded", 1)
    assert beside.served() == {1}


def test_an_edit_ends_it(guard: Guard) -> None:
    """An edit of the file is live at once, and the rollout is superseded."""
    beside = Beside(guard)
    assert beside.served() <= {1, 2}
    guard.registry.folder.swap("my_tool", code(7).encode())
    guard.registry.get_tool("my_tool")  # waits until the new code was checked
    assert beside.served() == {7}
    assert beside.states == ("superseded", "superseded", 3)


def test_a_cancelled_session_ends_it(guard: Guard) -> None:
    """Nobody judges it any more, so the old version serves alone."""
    beside = Beside(guard)
    guard.monitor.cancel_monitoring(beside.session_id, now=NOW + MINUTE)
    assert beside.states == ("aborted", "cancelled", 1)


def test_a_rollback_by_hand_is_that_of_the_new_version(guard: Guard) -> None:
    """`rollguard rollback` without a version ends the rollout; the old version stays."""
    beside = Beside(guard)
    rollback = guard.monitor.roll_back("my_tool", reason="it looks bad", now=NOW + MINUTE)
    assert (rollback.from_version, rollback.to_version, rollback.state) == (2, 1, "finished")
    assert beside.states == ("rolled_back", "rolled_back", 1)


def test_what_breaks_callers_cannot_share(guard: Guard) -> None:
    """It is refused with the changes named, and nothing is changed."""
    guard.deploy(1)
    with pytest.raises(BreakingChange, match="x"):
        guard.registry.deploy(
            "my_tool", "def my_tool() -> int:\n    return 1\n", watch=guard.monitor.watch("my_tool"), rollout=[0.5]
        )
    assert guard.store.rollouts.recent() == []


def test_invalid_shares(guard: Guard) -> None:
    """Shares that do not rise, or reach 0 or 1, are refused, and so is a rollout that nobody watches."""
    guard.deploy(1)
    for shares in ([0.5, 0.1], [0.0], [1.0], ["a"], 0.5, [float("nan")]):
        with pytest.raises(InvalidInput, match="rollout"):
            guard.registry.deploy("my_tool", code(2), watch=guard.monitor.watch("my_tool"), rollout=shares)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="watch"):
        guard.registry.deploy("my_tool", code(2), rollout=[0.5])


def test_the_first_version_goes_live_at_once(guard: Guard) -> None:
    """There is none that it could serve beside."""
    assert guard.registry.deploy("my_tool", code(1), watch=guard.monitor.watch("my_tool"), rollout=[0.5]) == 1
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert guard.store.rollouts.recent() == []


def test_a_version_that_was_rolled_back_is_no_baseline(guard: Guard) -> None:
    """The calls of a version that a rollout rolled back are left out of the baseline of the next deployment."""
    beside = Beside(guard, [0.5])
    while not beside.check()["rollback_performed"]:
        beside.calls(20, new=1.0, old=0.0, over=MINUTE)
    guard.registry.deploy("my_tool", code(3), deployed_at=beside.at + MINUTE)
    session_id = guard.watch(at=beside.at + MINUTE)
    (session,) = guard.store.baselines.of([guard.session(session_id)], beside.at + timedelta(hours=1))
    assert session.left_out is not None
    assert session.left_out.versions == (2,)


def test_observed_only(guard: Guard) -> None:
    """In a session that only observes, evidence holds the share, and is reported."""
    beside = Beside(guard, [0.5], mode="observe")
    for _ in range(4):
        beside.calls(20, new=1.0, old=0.0, over=MINUTE)
        report = beside.check()
    assert not report["rollback_performed"]
    assert beside.states == ("frozen", "active", 1)
    assert report["rollback_result"]["state"] == "observed"


def test_two_monitors_take_each_step_once(guard: Guard) -> None:
    """A process that read the rollout before another one moved it changes nothing."""
    beside = Beside(guard)
    before = beside.rollout
    beside.calls(100, new=0.0, old=0.0, over=HOUR)
    beside.check()
    assert beside.rollout.ramp.stage == 1
    assert guard.store.rollouts.move(before, before.ramp.paused(), by="late", now=beside.at) is None
    with pytest.raises(DeploymentConflict):
        guard.registry.rolling.promote(before, by="late", why="late", at=beside.at)
    assert beside.states == ("ramping", "active", 1)
    assert beside.served() <= {1, 2}


@pytest.mark.long
def test_a_version_whose_calls_do_not_arrive(guard: Guard) -> None:
    """If only the old version's calls arrive, the new one's are lost: it is rolled back, and the reason says so."""
    beside = Beside(guard, [0.5])
    drawn = {"rollout_id": beside.rollout.rollout_id, "stage": 0, "arm": "old", "version_number": 1}
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": True, "executed_at": NOW + timedelta(seconds=n), **drawn} for n in range(60)
    )
    report = beside.check(MINUTE * 2)
    assert "0 of 60 on the old one, no call of the new version arrived, evidence" in report["reason"]
    assert beside.states == ("rolled_back", "rolled_back", 1)
    assert guard.monitor.explain(beside.session_id)["checks"]["differing"] == []


def test_the_loop_looks_at_open_rollouts_alone(guard: Guard) -> None:
    """Its stage checks the sessions of open rollouts between the scheduled checks, and nothing once they have ended."""
    stage = RolloutsStage(guard.monitor)
    assert stage.run(NOW) == {}
    beside = Beside(guard, [0.5])
    for _ in range(6):
        beside.calls(20, new=1.0, old=0.0, over=MINUTE)
    counts = stage.run(beside.at + MINUTE)
    assert (counts["arrival_checks"], counts["rollbacks_triggered"]) == (1, 1)
    assert beside.states == ("rolled_back", "rolled_back", 1)
    assert stage.run(beside.at + HOUR) == {}


def test_what_moves_a_rollout_is_kept_as_a_check(guard: Guard) -> None:
    """A step between two scheduled checks is kept with the counts that decided it; one that changes nothing is not."""
    stage, beside = RolloutsStage(guard.monitor), Beside(guard, [0.25, 0.5])
    for kept in (1, 2):
        beside.calls(100, new=0.0, old=0.0, over=HOUR)
        stage.run(beside.at + MINUTE)
        stage.run(beside.at + MINUTE)
        assert len(guard.store.sessions.checks(beside.session_id)) == kept
    assert beside.states[0] == "promoted"
    explained = guard.monitor.explain(beside.session_id)
    assert explained["decision"]["record"]["concurrent"]["stages"] == [list(s) for s in beside.rollout.arms.stages]  # type: ignore[union-attr]
    assert (explained["checks"]["made_again"], explained["checks"]["differing"]) == (2, [])


@pytest.mark.long
def test_a_held_rollback_is_kept_once(guard: Guard) -> None:
    """In a session that only observes, the checks between the scheduled ones keep the evidence once, not each time."""
    stage, beside = RolloutsStage(guard.monitor), Beside(guard, [0.5], mode="observe")
    beside.calls(80, new=1.0, old=0.0, over=MINUTE)
    for seconds in range(5):
        stage.run(beside.at + MINUTE + timedelta(seconds=seconds))
    assert beside.states[0] == "frozen"
    assert len(guard.store.sessions.checks(beside.session_id)) == 1


def test_a_restart_in_the_middle(guard: Guard, url: str) -> None:
    """A new process goes on where the last one was: the same counts, the same stage, the same draw of a request."""
    beside = Beside(guard)
    beside.calls(100, new=0.0, old=0.0, over=HOUR)
    beside.check()
    before = beside.rollout
    assert (before.ramp.stage, before.arms and before.arms.counted) == (1, 100)
    with request("a request"):
        said = guard.registry.call("my_tool")
    with ExecutionStore(url) as store:
        registry = ToolRegistry(guard.registry.folder.path, store=store)
        monitor = DeploymentMonitor(store, registry)
        assert store.rollouts.open_of("my_tool") == before
        with request("a request"):
            assert registry.call("my_tool") == said
        monitor.auto_rollback_if_needed("my_tool", beside.session_id, now=beside.at + MINUTE)
        after = store.rollouts.open_of("my_tool")
        assert after is not None
        assert (after.ramp, after.arms) == (before.ramp, before.arms)


def test_what_was_counted_never_changes(guard: Guard) -> None:
    """A retry, or an execution that arrives late, changes no counted unit, however often it is checked."""
    beside = Beside(guard, [0.5])
    beside.calls(50, new=1.0, old=0.0, over=MINUTE, request_id="one")  # one request, of many calls
    beside.calls(20, new=0.0, old=0.0, over=MINUTE)
    beside.check(MINUTE * 2)
    counted = beside.rollout.arms
    assert counted is not None
    assert counted.counted == 21
    rollout = beside.rollout
    guard.store.store_tool_executions(
        {
            **{"tool_name": "my_tool", "success": False, "version_number": 2, "executed_at": at},
            **{"rollout_id": rollout.rollout_id, "stage": 0, "arm": "new", "request_id": name},
        }
        for at, name in ((NOW, None), (beside.at, "one"))
    )
    beside.check(MINUTE * 5)
    assert beside.rollout.arms == counted


def test_calls_of_an_earlier_rollout_with_its_number_are_not_counted(guard: Guard) -> None:
    """After a restored backup numbers are given again; a call drawn earlier, or of another tool, is no unit."""
    beside = Beside(guard, [0.5])
    drawn = {"rollout_id": beside.rollout.rollout_id, "stage": 0, "arm": "new", "request_id": "one"}
    spooled = {"success": False, "version_number": 2, **drawn}
    guard.store.store_tool_executions(
        [
            {"tool_name": "my_tool", "executed_at": NOW - HOUR, **spooled},
            {"tool_name": "other", "executed_at": NOW + MINUTE, **spooled},
        ]
    )
    beside.calls(10, new=0.0, old=0.0, over=MINUTE)
    beside.calls(1, new=0.0, old=0.0, over=MINUTE, request_id="one")
    beside.check(MINUTE * 5)
    arms = beside.rollout.arms
    assert arms is not None
    assert (arms.counted, arms.total.new_failures) == (11, 0)


def test_a_call_in_flight_holds_back_those_after_it(guard: Guard) -> None:
    """Units are counted in the order drawn: one that still runs is waited for, and has failed at its time limit."""
    beside = Beside(guard, [0.5], rollout_unit_seconds=600.0)
    beside.calls(10, new=0.0, old=0.0, over=MINUTE)
    drawn = Drawn(beside.rollout.rollout_id, Arm.NEW, 2, 0, 0.5)
    guard.store.in_flight.publish("a process", [CallInFlight("my_tool", 2, beside.at, drawn=drawn)])
    beside.at += MINUTE
    beside.calls(10, new=0.0, old=0.0, over=MINUTE)
    beside.check()
    arms = beside.rollout.arms
    assert arms is not None
    assert arms.counted == 10
    beside.check(MINUTE * 10)
    arms = beside.rollout.arms
    assert arms is not None
    assert (arms.counted, arms.total.new_failures) == (21, 1)
    guard.store.in_flight.publish("a process", [])
    guard.store.store_tool_execution(
        tool_name="my_tool",
        success=True,
        executed_at=NOW + MINUTE,
        version_number=2,
        rollout_id=drawn.rollout_id,
        stage=0,
        arm="new",
    )
    beside.check()
    assert beside.rollout.arms == arms


def test_many_units_are_counted_in_parts(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few executions are read at once, all units are counted, also where many wait for their end."""
    whole, parts = Beside(guard, [0.5]), 7
    whole.calls(40, new=0.5, old=0.5, over=MINUTE)
    whole.calls(30, new=0.5, old=0.5, over=timedelta(seconds=5), request_id="of many calls")
    whole.calls(40, new=0.5, old=0.5, over=MINUTE)
    at = {"baseline": (0, 0), "until": whole.at, "now": whole.at + MINUTE, "limit": MINUTE}
    monkeypatch.setattr("rollguard.store.rollouts.MOST", parts)
    counted = guard.store.rollouts.counted(whole.rollout, **at)
    assert counted.arms is not None
    assert counted.arms.counted == 81


def test_errors_of_callers_are_no_evidence(guard: Guard) -> None:
    """A version of which more calls fail by their callers' errors is not called worse: each unit drawn is counted."""
    beside = Beside(guard, [0.5], caller_errors=("ValueError",), rollout_stage_units=1_000)
    beside.calls(300, new=0.5, old=0.0)
    assert not beside.check()["rollback_performed"]
    arms = beside.rollout.arms
    assert arms is not None
    assert (arms.counted, arms.total.new_failures, beside.states[0]) == (300, 0, "ramping")


def test_a_version_that_hangs_by_a_new_limit_is_rolled_back(guard: Guard) -> None:
    """Calls that time out have failed, also by a limit that was not in force in the baseline."""
    beside = Beside(guard, [0.5])
    guard.store.definitions.note({"my_tool": (5.0, NOW)})
    beside.calls(40, new=1.0, old=0.0, error_type=TIMED_OUT)
    assert beside.check()["rollback_performed"]
    arms = beside.rollout.arms
    assert arms is not None
    assert (arms.total.new_failures, arms.total.old_failures) == (arms.total.new_units, 0)


def test_a_late_retry_of_a_callers_error_has_not_failed(guard: Guard) -> None:
    """A request that began with an error of its caller has not failed by a call that ends after its time."""
    beside = Beside(guard, [0.5], caller_errors=("ValueError",))
    beside.calls(1, new=1.0, old=1.0, over=MINUTE * 2, request_id="one")
    beside.calls(1, new=0.0, old=0.0, request_id="one")
    beside.check()
    arms = beside.rollout.arms
    assert arms is not None
    assert (arms.counted, arms.total.new_failures + arms.total.old_failures) == (1, 0)
