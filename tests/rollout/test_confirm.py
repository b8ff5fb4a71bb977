"""`confirm = "concurrent"`: the version before serves beside the live one before the evidence rule rolls back."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rollguard.errors import AmendmentRefused
from rollguard.model.confirming import ALONE, EXTERNAL
from rollguard.model.ramp import State
from rollguard.model.rollout import Rollout
from rollguard.model.split import Arm, Draws
from tests.conftest import NOW, Guard, code

MINUTE = timedelta(minutes=1)


class Confirmed:
    """Version 2 replaces version 1 at `NOW`, after a long baseline, and what the evidence rule finds is confirmed."""

    def __init__(self, guard: Guard, new_code: str | None = None, **rules: Any) -> None:
        self.guard, self.store, self.monitor, self.registry = guard, guard.store, guard.monitor, guard.registry
        guard.deploy(1, at=NOW - timedelta(days=2))
        guard.calls(950, 50, start=NOW - timedelta(days=2), hours=40)
        self.registry.deploy("my_tool", new_code or code(2), deployed_at=NOW)
        rules = {"decision": "evidence", "confirm": "concurrent", **rules}
        self.session_id = guard.watch(at=NOW, **rules)
        self.draws, self.chance, self.at = Draws("a process"), random.Random(1), NOW

    @property
    def rollouts(self) -> list[Rollout]:
        """The confirmations, the newest first."""
        return self.store.rollouts.recent("my_tool")

    @property
    def states(self) -> tuple[str, str, int | None]:
        """State of the latest confirmation, status of the session, and the live version."""
        live = self.store.versions.live("my_tool")
        status = self.monitor.get_session(self.session_id).status
        return str(self.rollouts[0].ramp.state), status, live and live.version_number

    def calls(self, count: int, *, new: float, old: float = 0.05) -> list[str]:
        """Let so many calls happen within some minutes, which fail with these probabilities, and return their ids."""
        split = self.store.rollouts.splits().get("my_tool")
        self.draws.use_split("my_tool", split and replace(split, key=b"the same draws at each run"))
        ids = []
        for _ in range(count):
            drawn, live = self.draws.drawn("my_tool", None), self.store.versions.live("my_tool")
            ran_new = drawn.arm is Arm.NEW if drawn else bool(live and live.version_number == 2)
            arm = {"rollout_id": drawn.rollout_id, "stage": drawn.stage, "arm": str(drawn.arm)} if drawn else {}
            ids.append(
                self.store.store_tool_execution(
                    tool_name="my_tool",
                    success=self.chance.random() >= (new if ran_new else old),
                    duration_ms=5.0,
                    executed_at=self.at,
                    version_number=2 if ran_new else 1,
                    **arm,  # type: ignore[arg-type]
                )
            )
            self.at += timedelta(seconds=2)
        return ids

    def check(self, after: timedelta = MINUTE) -> dict[str, Any]:
        """Check, and act."""
        self.at += after
        return self.monitor.auto_rollback_if_needed("my_tool", self.session_id, now=self.at)

    def begun(self, *, old: float = 0.05) -> dict[str, Any]:
        """Let the new version fail until both serve."""
        self.calls(15, new=0.9 if old > 0.5 else 1.0)
        return self.check()


def test_a_bad_version_is_confirmed_and_rolled_back(guard: Guard) -> None:
    """The evidence rule has both serve, and their comparison rolls back within some calls."""
    confirmed = Confirmed(guard)
    report = confirmed.begun()
    assert (report["verdict"], report["rollback_performed"]) == ("insufficient_data", False)
    assert "version 1 serves half of the calls beside version 2" in report["reasons"][-1]
    assert confirmed.states == ("ramping", "active", 2)
    assert {confirmed.registry.call("my_tool") for _ in range(60)} == {1, 2}
    for _ in range(8):
        confirmed.calls(5, new=1.0)
        report = confirmed.check()
        if report["rollback_performed"]:
            break
    assert (report["rollback_performed"], report["rollback_type"]) == (True, "concurrent")
    assert confirmed.states == ("rolled_back", "rolled_back", 1)
    assert {confirmed.registry.call("my_tool") for _ in range(20)} == {1}
    explained = confirmed.monitor.explain(confirmed.session_id)
    (rollout,) = explained["rollouts"]
    assert rollout["new"]["failures"] == rollout["new"]["units"] > 0
    assert not explained["checks"]["differing"]
    what = [entry["what"] for entry in explained["timeline"]]
    assert any(sentence.startswith("a confirmation began: version 2 served 50 % beside version 1") for sentence in what)
    assert any(sentence.startswith("a confirmation ended: rolled_back") for sentence in what)
    (row,) = [row for row in guard.store.reports.version_stability() if row["tool_name"] == "my_tool"]
    assert (row["deployments"], row["rollbacks"]) == (2, 1)


def test_an_outage_rolls_nothing_back(guard: Guard) -> None:
    """In an outage the old version fails too; it goes on failing with the new one off, so the cause is external."""
    confirmed = Confirmed(guard)
    confirmed.begun(old=0.9)
    assert confirmed.states[0] == "ramping"
    stages = []
    for _ in range(20):
        confirmed.calls(6, new=0.9, old=0.9)
        confirmed.check()
        stages.append(confirmed.rollouts[0].ramp.stage)
        if confirmed.states[0] != "ramping":
            break
    assert ALONE in stages
    assert confirmed.states == ("unproven", "active", 2)
    assert confirmed.rollouts[0].ended_why == EXTERNAL
    report = confirmed.check()
    assert (report["verdict"], report["rollback_performed"]) == ("external", False)
    confirmed.calls(400, new=0.05)
    assert confirmed.check(timedelta(hours=3))["rollback_performed"] is False
    assert len(confirmed.rollouts) <= 2
    assert confirmed.states[1:] == ("active", 2)


@pytest.mark.parametrize(("at_bound", "rolled_back"), [("hold", False), ("roll_back", True)])
def test_the_bound(guard: Guard, at_bound: str, rolled_back: bool) -> None:
    """Without an answer at the bound the rollback is held, or made all the same, and the reason says which."""
    confirmed = Confirmed(guard, confirm_calls=20, confirm_at_bound=at_bound)
    confirmed.begun()
    confirmed.calls(30, new=0.1, old=0.1)
    confirmed.check()
    report = confirmed.check()
    assert confirmed.rollouts[0].ramp.state == "unproven"
    assert report["rollback_performed"] is rolled_back
    assert ("an outage can make" if rolled_back else "the rollback is held") in " ".join(report["reasons"])


@pytest.mark.long
def test_a_second_confirmation_goes_on_with_the_counts(guard: Guard) -> None:
    """After as much time again both serve once more, and the comparison goes on where it was."""
    confirmed = Confirmed(guard, confirm_minutes=10.0)
    confirmed.begun()
    confirmed.calls(6, new=0.0, old=0.0)
    confirmed.check(timedelta(minutes=11))
    first = confirmed.rollouts[0]
    confirmed.calls(20, new=1.0)
    assert not confirmed.check()["rollback_performed"]
    assert len(confirmed.rollouts) == 1
    confirmed.check(timedelta(minutes=11))
    second = confirmed.rollouts[0]
    assert (len(confirmed.rollouts), second.ramp.state) == (2, "ramping")
    assert first.arms is not None
    assert second.arms is not None
    assert second.arms.stages == first.arms.stages
    assert second.arms.serving
    report: dict[str, Any] = {}
    for _ in range(8):
        confirmed.calls(5, new=1.0)
        report = confirmed.check()
        if report["rollback_performed"]:
            break
    assert report["rollback_type"] == "concurrent"


REQUIRED = "def my_tool(must: int) -> int:\n    return 2\n"


def test_versions_that_break_callers_are_not_confirmed(guard: Guard) -> None:
    """Where callers of one version would break on the other one, the evidence rolls back at once, and says why."""
    confirmed = Confirmed(guard, REQUIRED)
    report = confirmed.begun()
    assert report["rollback_performed"]
    assert confirmed.rollouts == []
    assert any("cannot be confirmed" in reason and "must" in reason for reason in report["reasons"])


@pytest.mark.long
@pytest.mark.parametrize("rules", [{"decision": "threshold"}, {"confirm": "off"}])
def test_other_rules_confirm_nothing(guard: Guard, rules: dict[str, Any]) -> None:
    """Under the threshold rule, and by default, a rollback is made at once."""
    confirmed = Confirmed(guard, **rules)
    assert confirmed.begun()["rollback_performed"]
    assert confirmed.rollouts == []


@pytest.mark.long
def test_what_is_only_observed_is_not_confirmed(guard: Guard) -> None:
    """With `mode = "observe"` nothing changes: what would be rolled back is recorded as without a confirmation."""
    confirmed = Confirmed(guard, mode="observe")
    assert not confirmed.begun()["rollback_performed"]
    assert confirmed.rollouts == []
    assert [rollback.state for rollback in guard.store.rollbacks.recent()] == ["observed"]


@pytest.mark.long
def test_a_person_ends_a_confirmation(guard: Guard) -> None:
    """An aborted confirmation leaves the new version alone, and its rollback is held."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    confirmed.monitor.rollouts.abort("my_tool", by="ada", reason="it is us", now=confirmed.at)
    assert confirmed.states == ("aborted", "active", 2)
    report = confirmed.check()
    assert not report["rollback_performed"]
    assert "it is us" in report["reasons"][-1]


@pytest.mark.long
def test_what_was_counted_stays_at_the_end(guard: Guard) -> None:
    """A process that ends a confirmation keeps what another one counted since it read it."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    known = confirmed.rollouts[0]
    confirmed.calls(4, new=0.0, old=0.0)
    confirmed.check()
    ended = guard.store.rollouts.move(known, known.ramp.ended_by(State.ABORTED, confirmed.at), by="a", now=confirmed.at)
    assert ended is not None
    assert ended.arms is not None
    assert (ended.arms.counted, ended.arms.serving) == (4, False)


@pytest.mark.long
def test_a_new_deployment_ends_a_confirmation(guard: Guard) -> None:
    """A version that is deployed meanwhile ends the confirmation and its session."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    confirmed.registry.deploy("my_tool", code(3), deployed_at=confirmed.at)
    assert confirmed.states == ("superseded", "superseded", 3)


def test_outcomes_beside_another_version_are_final(guard: Guard) -> None:
    """The outcome of a drawn call is amended only where counting waits for it; its score may always be."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    (drawn,) = confirmed.calls(1, new=0.0, old=0.0)
    with pytest.raises(AmendmentRefused, match="rollout_amend_seconds"):
        guard.store.amend(drawn, success=False, now=confirmed.at)
    assert guard.store.amend(drawn, score=0.0, now=confirmed.at)


def test_counting_waits_for_amendments(guard: Guard) -> None:
    """With `rollout_amend_seconds` units are counted so much later, with what was amended by then."""
    confirmed = Confirmed(guard, rollout_amend_seconds=600.0)
    confirmed.begun()
    ids = confirmed.calls(10, new=0.0, old=0.0)
    confirmed.check()
    assert confirmed.rollouts[0].arms is not None
    assert confirmed.rollouts[0].arms.counted == 0
    for execution_id in ids:
        guard.store.amend(execution_id, success=False, now=confirmed.at)
    confirmed.check(timedelta(minutes=11))
    total = confirmed.rollouts[0].arms.total
    assert total.new_units + total.old_units == total.new_failures + total.old_failures == 10


@pytest.mark.long
def test_a_confirmation_holds_no_release_up(guard: Guard) -> None:
    """A release of the tool takes the place of a confirmation, as every deployment does."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    guard.registry.release("v3", {"my_tool": code(3)}, released_at=confirmed.at)
    assert confirmed.states == ("superseded", "superseded", 3)


@pytest.mark.long
def test_a_person_rolls_back_during_a_confirmation(guard: Guard) -> None:
    """A rollback by hand ends the confirmation, and the version before serves alone."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    guard.monitor.roll_back("my_tool", reason="enough", now=confirmed.at)
    assert confirmed.states == ("rolled_back", "rolled_back", 1)
    assert {confirmed.registry.call("my_tool") for _ in range(20)} == {1}


@pytest.mark.long
def test_a_person_keeps_the_version_in_a_confirmation(guard: Guard) -> None:
    """Promoting a version that is being confirmed ends the confirmation; the version is live all the time."""
    confirmed = Confirmed(guard)
    confirmed.begun()
    confirmed.monitor.rollouts.promote("my_tool", by="ada", reason="it is us", now=confirmed.at)
    assert confirmed.states == ("promoted", "active", 2)
    assert {confirmed.registry.call("my_tool") for _ in range(20)} == {2}
