"""An attempt to improve a tool, from its finding to its end: what goes well, and each way in which it does not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop
from rollguard.errors import ApprovalRefused, InvalidSetting, StoreConflict
from rollguard.improve import Brief, Improvers, Proposal
from rollguard.improve.brief_text import mark_of
from rollguard.loop.improvement import POLICY, Approvals
from rollguard.loop.rules import ApprovalRules, LoopRules
from rollguard.model.attempt import Why
from rollguard.rehearse.calls import digest_of
from rollguard.store.schema import improvement_attempts, improvement_events
from tests.conftest import NOW
from tests.improve.helpers import HOSTILE
from tests.loop.improving import BROKEN, HOUR, OLD, RIGHT, TOOL, Scripted, State, System

WHOLE = ["find", "investigate", "propose", "rehearse", "approve", "intend", "deploy"]
AGAIN, THRICE = f"{BROKEN}\n# again\n", f"{BROKEN}\n# thrice\n"
Make = Callable[..., System]


@pytest.fixture
def make(url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a system with a weak tool."""
    made: list[System] = []

    def system(*sources: Any, **given: Any) -> System:
        made.append(System(url, tmp_path, *sources, **given).weak())
        return made[-1]

    yield system
    for one in made:
        one.close()


def people(**given: Any) -> dict[str, Any]:
    """Rules with which people approve."""
    return {"approval": given}


# --- the whole cycle -------------------------------------------------------------------------------------------------


def test_a_weak_tool_is_repaired_and_watched_to_health(make: Make) -> None:
    """One cycle finds it, has it repaired, rehearses, approves by policy and deploys; its session's end is the end."""
    system = make()
    system.tick()
    assert system.events() == WHOLE
    assert (system.live(), system.attempt.state) == (2, State.WATCHING)
    version = system.store.versions.get(TOOL, 2)
    assert (version.created_by, version.kind, version.code) == ("scripted", "improvement", RIGHT.encode())
    assert "as scripted (model none, prompt sha256 " in (version.reason or "")
    assert [one.session_id for one in system.store.sessions.active()] == [system.attempt.session_id]
    system.calls(40, 0)
    system.tick(25 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.SUCCEEDED, Why.HEALTHY)
    assert system.events() == [*WHOLE, "succeed"]
    assert system.loop().statistics() == {
        "cycles_completed": 2,
        "opportunities_detected": 1,
        "improvements_attempted": 1,
        "improvements_deployed": 1,
        "improvements_failed": 0,
        "rollbacks_triggered": 0,
        "tools_analyzed": 1,
        "maintenance_runs": 2,
    }
    (record,) = system.store.attempts.track_records()
    assert (record.author, record.proposals, record.success_rate) == ("scripted", 1, 1.0)
    (row,) = system.store.reports.improvement_history(TOOL)
    assert (row["state"], row["author"], row["version_number"]) == ("succeeded", "scripted", 2)


def test_a_repair_that_is_rolled_back_failed_and_is_remembered(make: Make) -> None:
    """It closes as failed, the next author is told why, the same source is not tried again, and the cause waits."""
    system = make()
    system.tick()
    system.now += HOUR
    system.calls(0, 40)
    system.tick(HOUR)
    assert system.live() == 1
    system.tick()
    attempt = system.attempt
    assert (attempt.state, attempt.why) == (State.FAILED, Why.ROLLED_BACK)
    assert attempt.not_before == system.now + 6 * HOUR
    assert "version 2" in attempt.reasons[0]["reasons"][0]
    assert system.store.attempts.track_records()[0].rolled_back == 1
    assert system.loop().statistics()["rollbacks_triggered"] == 1
    system.calls(0, 40)
    system.tick(2 * HOUR)
    assert len(system.attempts) == 1
    system.tick(5 * HOUR)
    assert len(system.attempts) == 2
    assert "rolled back" in system.improver.briefs[-1].attempts[0].reasons[0]
    assert "the same source was refused before" in system.reasons()[-1]


def test_a_window_without_calls_is_unproven(make: Make) -> None:
    """A repair that nobody calls is neither a success nor a failure."""
    system = make()
    system.tick()
    system.tick(100 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.UNPROVEN, Why.UNPROVEN)


# --- the gate --------------------------------------------------------------------------------------------------------


def test_a_refused_proposal_comes_back_with_the_reasons(make: Make) -> None:
    """One that breaks passing calls is refused; its author is told, proposes again, and that one goes live."""
    system = make(BROKEN, RIGHT)
    system.tick()
    assert (system.attempt.state, system.attempt.tries) == (State.INVESTIGATED, 1)
    assert system.live() == 1
    system.tick()
    assert system.live() == 2
    (told,) = system.improver.briefs[1].attempts
    assert told.author == "scripted"
    assert "it breaks" in told.reasons[0]


def test_what_is_refused_each_time_ends_and_backs_off(make: Make) -> None:
    """After three proposals the attempt is refused; the cause is left alone, twice as long after the next one."""
    system = make(BROKEN, AGAIN, THRICE, f"{BROKEN}#")
    for _ in range(3):
        system.tick()
    assert (system.attempt.state, system.attempt.why, system.attempt.tries) == (State.REFUSED, Why.GATE, 3)
    assert system.loop().statistics()["improvements_failed"] == 1
    assert system.attempt.not_before == system.now + 6 * HOUR
    system.improver = Scripted(None)
    system.tick(7 * HOUR)
    assert (len(system.attempts), system.attempt.not_before) == (2, system.now + 12 * HOUR)


def test_held_out_calls_are_drawn_anew_after_three_proposals(make: Make) -> None:
    """The fourth proposal for a cause meets other held-out calls, so that they cannot be learned by trying."""
    system = make(BROKEN, AGAIN, THRICE, RIGHT)
    for _ in range(4):
        system.tick(7 * HOUR if len(system.improver.briefs) == 3 else timedelta(0))
    first, fourth = system.improver.briefs[0], system.improver.briefs[3]
    assert {case.call_id for case in first.cases} != {case.call_id for case in fourth.cases}


def test_what_an_author_saw_is_not_held_out_by_later_calls(make: Make) -> None:
    """Calls that are recorded between a proposal and its rehearsal hold out none that the proposal's author saw."""
    system = make(rules={"approval": {}})
    for stage in system.stages():
        if stage.name in ("find", "investigate", "improve"):
            stage.run(NOW)
    (brief,) = system.improver.briefs
    system.calls(0, 30)
    system.tick()
    inputs = system.attempt.evidence["rehearsal"]["inputs"]
    held_out = [digest_of(one["parameters"]) for one in inputs if one["held_out"]]
    assert len(held_out) > 3
    assert not set(held_out) & set(brief.seen)


def test_recorded_instructions_reach_no_decision(make: Make) -> None:
    """Errors that contain instructions are data: an author is given them as they are, and a person decides as ever."""
    system = make(rules={"approval": {}})
    system.store.store_tool_execution(
        tool_name=TOOL, success=False, error=HOSTILE, parameters={"amount": "1,999"}, executed_at=NOW - HOUR
    )
    system.tick()
    (brief,) = system.improver.briefs
    assert HOSTILE in {case.error for case in brief.failing}
    told, mark = brief.to_markdown(), mark_of(brief)
    before, _, after = told.partition(HOSTILE.splitlines()[0])
    assert before.count(f"BEGIN DATA {mark}") == before.count(f"END DATA {mark}") + 1
    assert f"END DATA {mark}" in after
    assert (system.attempt.state, system.attempt.author) == (State.WAITING, "scripted")
    assert (system.attempt.verdict, system.live()) == ("passes", 1)


# --- improvers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (None, "scripted declined"),
        (RuntimeError("no license"), "scripted failed: RuntimeError: no license"),
        (b"\xff not Python", "scripted refused"),
        (OLD, "scripted refused"),
    ],
)
def test_an_improver_without_a_repair(make: Make, source: Any, why: str) -> None:
    """Nothing, an error, nonsense and the same source end the attempt with what became of it, and it backs off."""
    system = make(source)
    system.tick()
    assert (system.attempt.state, system.attempt.why) == (State.FAILED, Why.NO_PROPOSAL)
    assert why in system.reasons()[-1]
    assert system.attempt.not_before == NOW + 6 * HOUR


def test_without_an_improver_nothing_is_proposed(make: Make) -> None:
    """Where the settings name none, the attempt says so."""
    system = make()
    system.improver = Improvers(())  # type: ignore[assignment]
    system.tick()
    assert system.reasons()[-1] == "the settings name no improver"


def test_tokens_are_counted_and_limited(make: Make) -> None:
    """An attempt ends at its budget, and no proposal is asked for once the day's tokens are spent."""
    system = make(BROKEN, AGAIN, RIGHT, rules={"max_tokens_per_attempt": 150, "max_tokens_per_day": 150})
    system.improver._tokens = 100
    system.tick()
    system.tick()
    assert system.attempt.tokens == 200
    system.tick()
    assert (len(system.improver.briefs), system.attempt.state) == (2, State.INVESTIGATED)
    system.tick(25 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.FAILED, Why.BUDGET)


def test_an_attempt_that_ends_its_process_each_time_is_given_up(make: Make) -> None:
    """A stage that was begun five times and never ended fails the attempt, instead of ending every loop."""
    system = make()
    system.stages()[1].run(NOW)
    for n in range(5):
        moment = NOW + n * HOUR
        assert system.store.attempts.take([State.FOUND], f"killed {n}", after=0, now=moment, until=moment + HOUR)
    system.tick(6 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.FAILED, Why.GAVE_UP)


# --- approval --------------------------------------------------------------------------------------------------------


def test_nothing_is_approved_by_default(make: Make) -> None:
    """A proposal that passes waits for a person, and people are notified of it once."""
    system = make(rules={})
    system.tick()
    system.tick()
    assert (system.attempt.state, system.live()) == (State.WAITING, 1)
    told = [one.event["title"] for one in system.store.outbox.take_due(NOW + HOUR)]
    assert told == []  # the cycle has delivered it
    system.store.attempts.get(system.attempt.attempt_id)
    Approvals(system.store).approve(1, by="ann", reason="it is right", now=NOW)
    system.tick()
    assert system.live() == 2
    approved = system.store.attempt_events.of(1)[4]
    assert (approved.event, approved.by, approved.reason) == ("approve", "ann", "it is right")


def test_who_proposed_cannot_approve(make: Make) -> None:
    """The author's own approval is refused."""
    system = make(rules={})
    system.tick()
    with pytest.raises(ApprovalRefused, match="who proposes does not approve"):
        Approvals(system.store).approve(1, by="scripted", reason="mine", now=NOW)


def test_two_of_three_have_to_approve(make: Make) -> None:
    """Each counts once, only those who may, and the second one of them decides."""
    rules = {"approvals": 2, "approvers": ("ann", "bob", "eve")}
    system = make(rules=people(**rules))
    system.tick()
    approvals = Approvals(system.store, system.guard.settings.loop)
    assert approvals.approve(1, by="ann", reason="fine", now=NOW).state is State.WAITING
    with pytest.raises(ApprovalRefused, match="already"):
        approvals.approve(1, by="ann", reason="fine", now=NOW)
    with pytest.raises(ApprovalRefused, match="not one of the approvers"):
        approvals.approve(1, by="joe", reason="fine", now=NOW)
    assert approvals.approve(1, by="eve", reason="fine", now=NOW).state is State.APPROVED
    system.tick()
    assert system.live() == 2
    assert [one.by for one in system.store.attempt_events.of(1)[4:6]] == ["ann", "eve"]


def test_an_expired_proposal_is_refused(make: Make) -> None:
    """After its hours it reads as refused at once, nobody can approve it, and one that was approved is not deployed."""
    system = make(rules=people(hours=2.0))
    system.tick()
    assert system.attempt.shown_state(NOW + 3 * HOUR) == "refused"
    with pytest.raises(ApprovalRefused, match="expired"):
        Approvals(system.store).approve(1, by="ann", reason="late", now=NOW + 3 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.REFUSED, Why.EXPIRED)
    system.tick(10 * HOUR)
    Approvals(system.store).approve(2, by="ann", reason="in time", now=system.now)
    system.tick(3 * HOUR)
    assert (system.attempt.why, system.live()) == (Why.EXPIRED, 1)


@pytest.mark.parametrize("column", ["candidate", "evidence", "base_sha256"])
def test_an_approval_is_bound_to_what_was_seen(make: Make, column: str) -> None:
    """If the candidate, its base or the evidence is another one after the approval, nothing is deployed."""
    system = make(rules={})
    system.tick()
    Approvals(system.store).approve(1, by="ann", reason="fine", now=NOW)
    a = improvement_attempts
    values = {"candidate": BROKEN.encode(), "evidence": {"rehearsal": {}}, "base_sha256": "0" * 64}
    with system.store.database.write() as connection:
        connection.execute(sa.update(a).values({column: values[column]}))
    system.tick()
    ended = (system.attempt.state, system.attempt.why)
    assert ended == ((State.VOID, Why.BASE_CHANGED) if column == "base_sha256" else (State.REFUSED, Why.TAMPERED))
    assert system.live() == 1


def test_tampered_bytes_cannot_be_approved(make: Make) -> None:
    """If the candidate is not the one that was rehearsed, an approval is refused, and so is the proposal."""
    system = make(rules={})
    system.tick()
    with system.store.database.write() as connection:
        connection.execute(sa.update(improvement_attempts).values(candidate=BROKEN.encode()))
    with pytest.raises(ApprovalRefused, match="not those that were rehearsed"):
        Approvals(system.store).approve(1, by="ann", reason="fine", now=NOW)
    assert system.attempt.why is Why.TAMPERED


def test_a_rejection_is_told_to_the_next_author(make: Make) -> None:
    """A person's reason is an audit row, and the next author for the cause reads it."""
    system = make(rules={})
    system.tick()
    Approvals(system.store).reject(1, by="ann", reason="commas may be decimal", now=NOW)
    assert (system.attempt.state, system.attempt.why) == (State.REFUSED, Why.REJECTED)
    system.tick(7 * HOUR)
    assert system.improver.briefs[-1].attempts[0].reasons == ("a person: commas may be decimal",)


def test_automatic_approval_has_a_daily_cap(make: Make) -> None:
    """What the cap holds back waits for a person, and for tomorrow."""
    system = make(rules=people(automatic=("shadow",), max_automatic_per_day=0))
    system.tick()
    assert system.attempt.state is State.WAITING
    assert system.attempt.leased_by is None


def test_only_named_strategies_are_let_through(make: Make) -> None:
    """A policy for replays lets no shadow through; one for synthetic tests cannot be written."""
    system = make(rules=people(automatic=("replay",)))
    system.tick()
    assert system.attempt.state is State.WAITING
    with pytest.raises(ValueError, match="automatic"):
        ApprovalRules(automatic=("synthetic",))  # type: ignore[arg-type]


def test_what_a_person_has_to_decide_is_never_approved_by_policy(make: Make) -> None:
    """With too few recorded calls the gate asks, whatever the settings let through."""
    system = make(min_replays=1_000)
    system.tick()
    assert (system.attempt.state, system.attempt.verdict) == (State.WAITING, "ask")


# --- overlaps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["investigate", "improve", "rehearse", "approve", "deploy"])
def test_a_persons_deployment_makes_the_attempt_void(make: Make, step: str) -> None:
    """Whenever a person deploys, the attempt ends as void, and the person's version stays live."""
    system = make()
    for stage in system.stages():
        if stage.name == step:
            system.guard.deploy(TOOL, OLD + "\n# by hand", deployed_at=NOW, watch=False)
        stage.run(NOW)
    assert (system.attempt.state, system.attempt.why) == (State.VOID, Why.BASE_CHANGED)
    assert system.store.versions.get(TOOL, system.live() or 0).code.endswith(b"# by hand")


def test_a_deployment_at_the_last_moment_wins(make: Make) -> None:
    """Between the intention and the deployment a person deploys: nothing is deployed over it."""
    system = make()
    real = system.guard.registry.deploy

    def late(*args: Any, **given: Any) -> Any:
        system.guard.registry.deploy = real  # type: ignore[method-assign]
        system.guard.deploy(TOOL, OLD + "\n# by hand", deployed_at=NOW, watch=False)
        return real(*args, **given)

    system.guard.registry.deploy = late  # type: ignore[method-assign]
    system.tick()
    assert (system.attempt.state, system.attempt.why) == (State.VOID, Why.BASE_CHANGED)
    assert system.store.versions.get(TOOL, system.live() or 0).code.endswith(b"# by hand")


def test_an_edit_of_the_file_wins(make: Make, tmp_path: Path) -> None:
    """A file that somebody edits in the middle is not overwritten."""
    system = make(rules={})
    system.tick()
    Approvals(system.store).approve(1, by="ann", reason="fine", now=NOW)
    (tmp_path / "tools" / f"{TOOL}.py").write_text(OLD + "\n# edited\n")
    system.tick()
    assert system.attempt.state is State.VOID
    assert (tmp_path / "tools" / f"{TOOL}.py").read_text().endswith("# edited\n")


def test_a_person_who_deploys_over_a_repair_ends_the_attempt(make: Make) -> None:
    """A session that is superseded says nothing about the repair."""
    system = make()
    system.tick()
    system.guard.deploy(TOOL, OLD + "\n# by hand", deployed_at=NOW + HOUR, watch=False)
    system.tick(2 * HOUR)
    assert system.attempt.state is State.VOID


def test_a_monitored_tool_waits(make: Make) -> None:
    """While another deployment of the tool is monitored, what was approved is not deployed, and is afterwards."""
    system = make(rules={})
    system.tick()
    Approvals(system.store).approve(1, by="ann", reason="fine", now=NOW)
    session = system.guard.monitor.start_monitoring(TOOL, NOW, now=NOW)
    for _ in range(8):
        system.tick()
    assert (system.attempt.state, system.live()) == (State.APPROVED, 1)
    system.guard.monitor.cancel_monitoring(session)
    system.tick()
    assert system.live() == 2


@pytest.mark.parametrize("tool", [TOOL, None])
def test_a_freeze_stops_every_stage(make: Make, tool: str | None) -> None:
    """While a tool or everything is frozen, no attempt begins or goes on; each freeze is an audit row."""
    system = make(rules={})
    freeze = system.store.freezes.set
    assert freeze(tool, frozen=True, by="ann", reason="a holiday", now=NOW)
    assert not freeze(tool, frozen=True, by="ann", reason="again", now=NOW)
    system.tick()
    assert system.attempts == []
    assert freeze(tool, frozen=False, by="ann", reason=None, now=NOW)
    system.tick()
    Approvals(system.store).approve(1, by="ann", reason="fine", now=NOW)
    freeze(tool, frozen=True, by="bob", reason="wait", now=NOW)
    system.tick()
    assert (system.attempt.state, system.live()) == (State.APPROVED, 1)
    freeze(tool, frozen=False, by="bob", reason=None, now=NOW)
    system.tick()
    assert system.live() == 2
    assert [one.event for one in system.store.attempt_events.recent() if one.attempt_id is None] == [
        *("unfreeze", "freeze", "unfreeze", "freeze"),
    ]


def test_caps_hold(make: Make) -> None:
    """No more attempts a day than the settings allow, of one tool and of all."""
    for rules in ({"max_attempts_per_tool": 1}, {"max_attempts_per_day": 1}):
        system = make(None, rules={**rules, "back_off_hours": 0.1})
        before = len(system.attempts)
        system.tick(HOUR)
        system.tick(HOUR)
        assert len(system.attempts) <= before + 1


def test_a_cause_that_failed_too_often_is_left_alone(make: Make) -> None:
    """After so many failed attempts the cause is dropped after its investigation, for a week at most."""
    system = make(None, rules={"max_attempts_per_cause": 1, "back_off_hours": 1.0})
    system.tick()
    system.tick(2 * HOUR)
    assert (system.attempt.state, system.attempt.why) == (State.DROPPED, Why.CAP)
    assert len(system.improver.briefs) == 1


# --- several loops ---------------------------------------------------------------------------------------------------


def test_loops_share_the_work(make: Make) -> None:
    """While one loop works on an attempt, another leaves it alone; when its lease is over, the other takes it."""
    system = make()
    two = system.loop()
    for stage in system.stages()[:3]:
        stage.run(NOW)
    held = system.store.attempts.take([State.FOUND, State.INVESTIGATED], "other", after=0, now=NOW, until=NOW + HOUR)
    assert held is not None
    two.tick(NOW)
    assert system.attempt.state is held.state
    two.tick(NOW + 2 * HOUR)
    assert system.live() == 2


async def test_a_blocked_improver_delays_no_rollback(make: Make) -> None:
    """While an improver takes an hour, a bad deployment is rolled back on time, and a stop does not wait for it."""
    system, before = make(), set(threading.enumerate())
    asked, release, rolled_back = threading.Event(), threading.Event(), threading.Event()

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("other: rolled back"):
                rolled_back.set()

    class Slow(Scripted):
        def propose(self, brief: Brief) -> Proposal | None:
            asked.set()
            release.wait()
            return None

    system.improver = Slow(None)
    guard = system.guard
    guard.deploy("other", "def other():\n    return 1\n", watch=False)
    loop = system.loop(check_interval_seconds=1.0)
    system.store.store_tool_executions({"tool_name": "other", "success": True, "executed_at": None} for _ in range(50))
    alerts, log = logging.getLogger("rollguard.alerts"), Log()
    alerts.addHandler(log)
    try:
        for stage in loop.stages:  # its attempt begins in the test's time; the loop runs in the clock's
            if stage.name in ("find", "investigate"):
                stage.run(NOW)
        running = asyncio.create_task(loop.run(handle_signals=False))
        assert await asyncio.to_thread(asked.wait, 60)
        guard.deploy("other", "def other():\n    return 2\n")
        system.store.store_tool_executions(
            {"tool_name": "other", "success": False, "error": "KeyError: 'x'"} for _ in range(50)
        )
        assert await asyncio.to_thread(rolled_back.wait, 60)
        assert system.store.versions.live("other").version_number == 1  # type: ignore[union-attr]
        assert system.attempt.state is State.INVESTIGATED
        loop.stop()
        await asyncio.wait_for(running, 30)
    finally:
        alerts.removeHandler(log)
        release.set()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("rollguard-improve"):  # it still writes what became of the attempt
                await asyncio.to_thread(thread.join, 60)


# --- the loop itself -------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(make: Make) -> None:
    """It says what would be improved, and writes nothing."""
    system = make()
    loop = system.loop(dry_run=True)
    assert loop.tick(NOW) == {"opportunities_detected": 1}
    assert [(one.opportunity.tool_name, one.left_alone) for one in loop.plan(NOW)][:1] == [(TOOL, None)]
    assert system.attempts == []
    assert loop.statistics()["cycles_completed"] == 0


def test_a_stage_can_be_replaced(make: Make) -> None:
    """An object with a name and `run(now)` takes the place of the stage with its name."""
    system = make()
    loop = system.loop()

    class Nobody:
        name = "approve"

        def run(self, now: Any) -> dict[str, int]:
            return {"asked": 1}

    loop.replace(Nobody())
    assert loop.tick(NOW)["asked"] == 1
    assert system.attempt.state is State.WAITING
    with pytest.raises(InvalidSetting, match="not one of"):
        loop.replace(type("Other", (Nobody,), {"name": "guess"})())


def test_presets(make: Make) -> None:
    """Each preset has its interval and limits; health keeps its 300 seconds."""
    system = make()
    for name, interval in (("development", 60.0), ("production", 1_800.0), ("aggressive", 300.0)):
        loop = AutonomousLoop.preset(name, system.guard.monitor, improvement=system.parts)
        intervals = {stage.name: getattr(stage, "interval_seconds", None) for stage in loop.stages}
        assert intervals["find"] == intervals["improve"] == interval
        assert loop._interval_of(next(one for one in loop.stages if one.name == "health")) == 300.0
    assert LoopRules(preset="production").min_executions_for_analysis == 50
    assert LoopRules(preset="production", improvement_threshold=0.6).improvement_threshold == 0.6
    with pytest.raises(InvalidSetting, match="development"):
        AutonomousLoop.preset("careless", system.guard.monitor)


def test_what_happened_cannot_be_changed(make: Make) -> None:
    """The database refuses to change or remove an event."""
    system = make()
    system.tick()
    e = improvement_events
    for change in (sa.update(e).values(by="nobody"), sa.delete(e)):
        with pytest.raises(StoreConflict, match="append-only"), system.store.database.write() as connection:
            connection.execute(change)
    assert system.store.attempt_events.of(1)[4].by == POLICY
