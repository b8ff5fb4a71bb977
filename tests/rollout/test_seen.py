"""Views, backtests, simulations and explanations know of rollouts, and count one as one deployment."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from rollguard.evaluate.backtest import Compared, backtest
from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulator import overrides_of, through_monitor
from rollguard.judge import Rules
from rollguard.store.schema import notifications as n
from tests.conftest import NOW, Guard
from tests.rollout.helpers import HOUR, MINUTE, Beside


def _rolled_back(guard: Guard) -> Beside:
    beside = Beside(guard, [0.5])
    for _ in range(20):
        beside.calls(20, new=1.0, old=0.05, over=MINUTE)
        if beside.check()["rollback_performed"]:
            return beside
    raise AssertionError("a version of which every call fails is found")


def test_a_rollout_that_was_rolled_back_is_one_deployment(guard: Guard) -> None:
    """Every view counts it as one deployment and one rollback, though its version never was live."""
    _rolled_back(guard)
    (row,) = guard.store.reports.version_stability()
    assert (row["deployments"], row["rollbacks"], row["current_version"]) == (2, 1, 1)
    versions = {row["version_number"]: row for row in guard.store.reports.version_history("my_tool")}
    assert (versions[2]["times_deployed"], versions[2]["was_rolled_back"], versions[2]["is_live"]) == (1, True, False)
    assert versions[2]["rolled_back_reason"].startswith("beside each other")
    (row,) = guard.store.reports.deployment_stability()
    assert (row["total_deployments"], row["total_rollbacks"]) == (1, 1)


@pytest.mark.long
def test_a_promoted_rollout_is_one_deployment(guard: Guard) -> None:
    """Its beginning and its promotion are one deployment, also while it is under way."""
    beside = Beside(guard, [0.5])
    (row,) = guard.store.reports.version_stability()
    assert (row["deployments"], row["current_version"]) == (2, 1)
    beside.calls(200, new=0.05, old=0.05, over=HOUR)
    beside.check()
    assert beside.states == ("promoted", "active", 2)
    (row,) = guard.store.reports.version_stability()
    assert (row["deployments"], row["rollbacks"], row["current_version"]) == (2, 0, 2)


@pytest.mark.long
def test_a_rollout_is_explained(guard: Guard) -> None:
    """An explanation says when both versions served, what each of them did, and what followed."""
    beside = _rolled_back(guard)
    explained = guard.monitor.explain(beside.session_id)
    (rollout,) = explained["rollouts"]
    assert (rollout["kind"], rollout["state"], rollout["old_version"], rollout["new_version"]) == (
        *("canary", "rolled_back"),
        *(1, 2),
    )
    assert rollout["new"]["failures"] == rollout["new"]["units"] > rollout["old"]["failures"]
    what = [entry["what"] for entry in explained["timeline"]]
    assert "a rollout began: version 2 served 50 % beside version 1" in what


def test_a_backtest_replays_the_new_versions_calls(guard: Guard) -> None:
    """A backtest replays a rollout as one deployment: the calls of the new version, as if it had replaced the other."""
    beside = _rolled_back(guard)
    (deployment,) = backtest(
        guard.store, lambda _tool: Rules(decision="evidence"), every=5 * MINUTE, now=beside.at + HOUR
    )
    assert deployment.rollout is not None
    assert deployment.rollout.ramp.state == "rolled_back"
    assert deployment.compared in (Compared.SAME, Compared.EARLIER)
    assert deployment.session.deployment_time == NOW


SCENARIO = {
    **{"seed": 3, "tools": 2, "traffic": {"calls_per_hour": 240.0, "baseline_days": 0.25, "watched_hours": 2}},
    **{"success": {"before": 0.95, "after": 0.1}},
}


@pytest.mark.long
@pytest.mark.parametrize(
    "rules",
    [
        Rules(decision="evidence", confirm="concurrent"),
        Rules(decision="evidence", rollout=(0.2, 0.5), rollout_stage_minutes=30.0, rollout_limit_hours=2.0),
    ],
    ids=["confirm", "canary"],
)
def test_a_simulation_plays_both_versions(rules: Rules) -> None:
    """A scenario through the monitor has both versions serve: a bad one is found, and the same seed finds the same."""
    scenario = Scenario.from_mapping(SCENARIO, "both")
    found = through_monitor(scenario, overrides_of(rules), every=300.0)
    assert all(act is not None for act in found)
    assert found == through_monitor(scenario, overrides_of(rules), every=300.0)


@pytest.mark.long
def test_an_outage_is_simulated_for_both() -> None:
    """In a simulated outage of every version the confirmation rolls nothing back, where the evidence alone does."""
    outage = {"after_hours": 0.5, "minutes": 30.0, "success": 0.1}
    scenario = Scenario.from_mapping({**SCENARIO, "tools": 1, "success": {"before": 0.95}, "outage": outage}, "outage")
    confirmed = Rules(decision="evidence", confirm="concurrent")
    assert through_monitor(scenario, overrides_of(confirmed), every=300.0) == [None]
    assert through_monitor(scenario, overrides_of(Rules(decision="evidence")), every=300.0) != [None]


def test_people_are_notified_of_each_step(guard: Guard) -> None:
    """A rollout's beginning, each higher share, its freeze and its end are events, once each."""
    beside = Beside(guard, [0.25, 0.5])
    beside.calls(200, new=0.05, old=0.05, over=HOUR)
    beside.check()
    beside.calls(200, new=0.05, old=0.05, over=HOUR)
    beside.check()
    assert [event["kind"] for event in events(guard)] == ["rollout_started", "rollout_advanced", "rollout_promoted"]
    assert events(guard)[1]["title"] == "my_tool: version 2 serves 50 % of the calls now"
    assert events(guard)[0]["details"]["share"] == 0.25


def test_people_are_notified_of_a_rollback_once(guard: Guard) -> None:
    """What evidence ends is notified by its rollback, which names the rollout."""
    beside = _rolled_back(guard)
    kinds = [event["kind"] for event in events(guard)]
    assert (kinds[0], kinds[-1]) == ("rollout_started", "rolled_back")
    assert "rollout_unproven" not in kinds
    assert events(guard)[-1]["details"]["rollout_id"] == beside.rollout.rollout_id


def events(guard: Guard) -> list[dict[str, Any]]:
    """What people were notified of, the oldest first."""
    with guard.store.database.read() as connection:
        return [dict(event) for event in connection.scalars(sa.select(n.c.event).order_by(n.c.notification_id))]
