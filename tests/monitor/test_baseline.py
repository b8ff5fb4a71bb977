"""A baseline that stays good: what is left out of it, how far it reaches back, and what is reported of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.evaluate.backtest import Compared, backtest
from rollguard.judge import Rules
from tests.conftest import NOW, Guard, code
from tests.monitor.helpers import Told
from tests.watching import follow_up

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BOTH = pytest.mark.parametrize("decision", ["threshold", "evidence"])
NAMED = pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry, told: Told) -> DeploymentMonitor:
    return DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[told])


class Agent:
    """Deploys one version after the other, each of which is called for an hour and then checked.

    Args:
        versions: False leaves the versions to something else: the registry knows none, and so no call names one.
        named: whether calls name their version.
    """

    def __init__(self, guard: Guard, *, versions: bool = True, named: bool = True, **rules: Any) -> None:
        self.guard, self.versions, self.named, self.rules = guard, versions, named and versions, rules
        self.live = 0

    def calls(self, rate: float, calls: int, start: datetime, *, hours: float = 1.0, tool: str = "my_tool") -> None:
        """Record calls of the live version, spread evenly."""
        failing = round(calls * (1 - rate))
        self.guard.store.store_tool_executions(
            {
                "tool_name": tool,
                "success": (i * failing) // calls == ((i + 1) * failing) // calls,
                "duration_ms": 10.0,
                "executed_at": start + hours * HOUR * i / calls,
                "version_number": self.live if self.named and tool == "my_tool" else None,
            }
            for i in range(calls)
        )

    def deploy(self, rate: float, at: datetime, *, calls: int = 40, **rules: Any) -> dict[str, Any]:
        """Deploy the next version, call it for an hour, and check it then."""
        if self.versions:
            source = code(len(self.guard.store.versions.history("my_tool")) + 1)
            self.live = self.guard.registry.deploy("my_tool", source, deployed_at=at)
        session_id = self.guard.watch(at=at, **(self.rules | rules))
        self.calls(rate, calls, at)
        result = self.guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=at + HOUR)
        live = self.guard.store.versions.live("my_tool")
        self.live = live.version_number if live else 0
        return result


def first_two(guard: Guard, **given: Any) -> Agent:
    """Version 1 succeeds in 98 %, version 2 never."""
    agent = Agent(guard, **given)
    agent.deploy(0.98, NOW - 2 * DAY, calls=200)
    assert agent.deploy(0.0, NOW)["needs_rollback"] is True
    return agent


OUTCOMES: dict[str, dict[str, Any]] = {
    "finished": {},
    "observed": {"mode": "observe"},
    "capped": {"max_rollbacks_per_day": 1},
    "failed": {"versions": False},
}


@pytest.mark.parametrize(("decision", "named"), [("threshold", True), ("evidence", False)])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_bad_version_is_no_baseline(guard: Guard, outcome: str, decision: str, named: bool) -> None:
    """After a version that always failed one that fails in a third is critical, whatever became of the first."""
    agent = Agent(guard, named=named, decision=decision, **OUTCOMES[outcome])
    agent.deploy(0.98, NOW - 2 * DAY, calls=200)
    if outcome == "capped":
        assert agent.deploy(0.0, NOW - 3 * HOUR)["rollback_performed"] is True
    assert agent.deploy(0.0, NOW)["rollback_performed"] is (outcome == "finished")
    assert guard.store.rollbacks.recent(limit=1)[0].state == outcome
    report = agent.deploy(0.67, NOW + 2 * HOUR)
    assert (report["verdict"], report["comparison"]["regression_severity"]) == ("regressed", "critical")
    assert (report["baseline"]["success_rate"], report["baseline"]["total_executions"]) == (0.98, 200)


def test_what_was_left_out_is_reported(guard: Guard) -> None:
    """The report, its reasons, the decision record, `explain` and the notes name the versions and count the calls."""
    report = first_two(guard).deploy(0.67, NOW + 2 * HOUR)
    assert report["baseline"]["left_out"] == {
        "versions": [2],
        "executions": 40,
        "outage_minutes": 0,
        "reaches_back_to": None,
    }
    sentence = "not counted in the baseline: 40 calls, of version 2 (rolled back or found regressed)"
    assert sentence in report["reasons"]
    assert report["baseline_notes"] == []
    explained = guard.monitor.explain(report["session_id"])
    assert sentence in explained["why"]
    assert (explained["left_out"]["versions"], explained["left_out"]["calls"]) == ([2], 40)
    assert (explained["checks"]["made_again"], explained["checks"]["differing"]) == (1, [])


def test_the_count_of_the_contract_is_a_setting(guard: Guard) -> None:
    """With `baseline_counts = "contract"` everything before the deployment counts, by time alone."""
    agent = first_two(guard, baseline_counts="contract")
    report = agent.deploy(0.67, NOW + 2 * HOUR)
    assert report["baseline"]["total_executions"] == 240
    assert report["baseline"]["left_out"]["executions"] == 0
    assert report["verdict"] == "healthy"
    assert "the baseline holds what version 2 did before it was rolled back" in report["baseline_notes"]


RATES = [0.75, 0.4, 0.7, 0.45, 0.65, 0.5, 0.6, 0.55, 0.72, 0.42]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_agent_that_tries_again(guard: Guard, outcome: str) -> None:
    """Of ten bad versions in turn none is healthy, days apart too, until one is good again."""
    agent = Agent(guard, **({"max_rollbacks_per_day": 0} if outcome == "finished" else OUTCOMES[outcome]))
    agent.deploy(0.95, NOW - DAY, calls=200)
    apart = 2 * HOUR if outcome in ("finished", "capped") else DAY
    for number, rate in enumerate(RATES):
        assert agent.deploy(rate, NOW + number * apart)["verdict"] == "regressed"
    good = agent.deploy(0.95, NOW + 10 * apart)
    assert (good["verdict"], good["baseline"]["success_rate"]) == ("healthy", 0.95)
    assert good["baseline"]["left_out"]["executions"] == 40 * (10 if apart == 2 * HOUR else 7)


@NAMED
def test_the_baseline_reaches_back_to_the_last_good_version(guard: Guard, named: bool) -> None:
    """With nothing good in its days the baseline has those up to the end of the last good version, and says so."""
    agent = Agent(guard, named=named, mode="observe")
    agent.deploy(0.98, NOW - 31 * DAY, calls=200)
    agent.deploy(0.2, NOW - 30 * DAY)
    agent.calls(0.2, 300, NOW - 6 * DAY, hours=5 * 24)
    guard.store.tidy(now=NOW)
    report = agent.deploy(0.5, NOW)
    assert (report["verdict"], report["baseline"]["success_rate"]) == ("regressed", 0.98)
    begins = (NOW - 37 * DAY).isoformat()
    assert report["baseline"]["left_out"] == {
        "versions": [2],
        "executions": 300,
        "outage_minutes": 0,
        "reaches_back_to": begins,
    }
    assert report["baseline"]["start"] == begins
    assert report["reasons"][-1].endswith("so it reaches back to 2026-01-23 12:00 UTC")


def test_without_a_good_version_nothing_is_healthy(guard: Guard) -> None:
    """If no good version has enough calls, however far back, there is too little data for a verdict."""
    agent = Agent(guard, mode="observe")
    guard.calls(12, 0, start=NOW - 3 * DAY)
    agent.deploy(0.2, NOW - 2 * DAY)
    agent.calls(0.2, 50, NOW - DAY)
    report = agent.deploy(0.2, NOW, min_executions=20)
    assert report["verdict"] == "insufficient_data"
    assert report["baseline"]["total_executions"] == 12
    assert report["baseline"]["left_out"] == {
        "versions": [1],
        "executions": 90,
        "outage_minutes": 0,
        "reaches_back_to": None,
    }


# --- outages --------------------------------------------------------------------------------------------------------


def _outage(guard: Guard, agent: Agent, others: int, *, failing: int, at: datetime = NOW - DAY) -> None:
    """Record two days of calls of this tool and of others; so many of them, and this tool, fail for 30 minutes."""
    names = ["my_tool", *(f"other_{number}" for number in range(others))]
    for number, name in enumerate(names):
        agent.calls(1.0, 500, NOW - 2 * DAY, hours=24, tool=name)
        agent.calls(1.0, 400, at + HOUR / 2, hours=23.5, tool=name)
        agent.calls(0.0 if number <= failing else 1.0, 120, at, hours=0.5, tool=name)


@BOTH
def test_minutes_in_which_other_tools_failed_are_no_baseline(guard: Guard, decision: str) -> None:
    """What failed and what succeeded in an outage of other tools does not count, and the minutes are reported."""
    agent = Agent(guard, decision=decision, versions=False)
    _outage(guard, agent, 3, failing=2)
    report = agent.deploy(0.8, NOW)
    assert (report["verdict"], report["baseline"]["success_rate"]) == ("regressed", 1.0)
    left_out = report["baseline"]["left_out"]
    assert 120 <= left_out["executions"] <= 125
    assert 30 <= left_out["outage_minutes"] <= 35
    assert f"{left_out['outage_minutes']} minutes in which other tools failed too" in report["reasons"][-1]


@pytest.mark.parametrize(
    "others", [{"others": 3, "failing": 0}, {"others": 3, "failing": 1}, {"others": 0, "failing": 0}]
)
def test_what_one_tool_alone_shows_is_no_outage(guard: Guard, others: dict[str, int]) -> None:
    """If this tool alone fails, or one of several others, its calls of these minutes count."""
    agent = Agent(guard, versions=False)
    _outage(guard, agent, **others)
    report = agent.deploy(1.0, NOW)
    assert report["baseline"]["left_out"]["executions"] == 0
    assert report["baseline"]["total_executions"] == 1020


# --- creeping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, {"named": False}, {"versions": False}], ids=["named", "unnamed", "unknown"])
def test_versions_that_are_each_a_little_worse_are_creeping(guard: Guard, told: Told, known: dict[str, bool]) -> None:
    """Ten versions lose 3 points each: at 15 points it is reported, once for each session, and nothing is done."""
    agent = Agent(guard, baseline_window_days=2, **known)
    reports = [agent.deploy(0.98 - 0.03 * number, NOW + 2 * number * DAY, calls=1000) for number in range(10)]
    assert {report["verdict"] for report in reports[1:]} == {"healthy"}
    assert [report["creeping"] is not None for report in reports] == [number >= 5 for number in range(10)]
    first = "version 1" if known.get("versions", True) else "the deployment of 2026-03-01 12:00 UTC"
    assert reports[5]["creeping"] == (
        f"creeping: the success rate is 15 points below that of {first} (20 of 1000 calls failed), with evidence; "
        "earlier good versions compared: 5"
    )
    assert reports[5]["creeping"] in reports[5]["reasons"]
    last = reports[9]["session_id"]
    guard.monitor.auto_rollback_if_needed("my_tool", last, now=NOW + 18 * DAY + 2 * HOUR)
    follow_up(guard.monitor, now=NOW + 18 * DAY + 2 * HOUR)
    assert told.kinds == ["creeping"] * 5
    assert told.events[-1].reasons[0] == guard.session(last).creeping
    explained = guard.monitor.explain(last)
    assert guard.session(last).creeping in explained["why"]
    assert explained["checks"]["differing"] == []


# --- the same everywhere --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "expected"), [(0.9, 140), (0.2, 100)])
def test_a_person_may_undo_a_version_that_is_good(guard: Guard, rate: float, expected: int) -> None:
    """A rollback by a person leaves a version out unless its last check found it healthy."""
    agent = Agent(guard)
    agent.deploy(0.9, NOW - 2 * DAY, calls=100)
    agent.deploy(rate, NOW, mode="observe")
    guard.monitor.roll_back("my_tool", reason="I prefer the other", now=NOW + 2 * HOUR)
    report = agent.deploy(0.9, NOW + 3 * HOUR)
    assert report["baseline"]["total_executions"] == expected
    assert report["baseline"]["left_out"]["executions"] == 140 - expected


def test_a_version_that_is_good_again_counts_again(guard: Guard) -> None:
    """Code that is deployed again and found healthy is baseline, with all its calls; until then it is not."""
    agent = first_two(guard)
    guard.registry.deploy("my_tool", code(2), deployed_at=NOW + 3 * HOUR, force=True)
    agent.live = 2
    session_id = guard.watch(at=NOW + 3 * HOUR)
    agent.calls(1.0, 100, NOW + 3 * HOUR)
    again = guard.monitor.check_health("my_tool", session_id, now=NOW + 4 * HOUR)
    assert (again["verdict"], again["baseline"]["total_executions"]) == ("healthy", 200)
    report = agent.deploy(1.0, NOW + 5 * HOUR)
    assert report["baseline"]["total_executions"] == 340
    assert report["baseline"]["left_out"]["versions"] == []


def test_a_baseline_of_the_same_hours_has_no_bad_version(guard: Guard) -> None:
    """`same_hours` leaves out the same, and reaches back by whole weeks."""
    rules = {"baseline": "same_hours", "baseline_window_days": 7}
    agent = Agent(guard, mode="observe", baseline_window_days=7)
    agent.deploy(0.98, NOW - 21 * DAY, calls=200)
    agent.deploy(0.0, NOW - 14 * DAY)
    agent.calls(0.0, 50, NOW - 7 * DAY)
    report = agent.deploy(0.67, NOW, **rules)
    assert (report["verdict"], report["baseline"]["success_rate"]) == ("regressed", 0.98)
    assert report["baseline"]["left_out"]["executions"] == 50


def test_a_backtest_and_a_verification_leave_out_the_same(guard: Guard) -> None:
    """A past deployment is replayed, and a restored version verified, against the baseline of the checks."""
    agent = first_two(guard)
    report = agent.deploy(0.67, NOW + 2 * HOUR)
    assert report["rollback_performed"] is True
    agent.calls(0.67, 30, NOW + 3 * HOUR)
    follow_up(guard.monitor, now=NOW + 5 * HOUR)
    verified = guard.store.rollbacks.of_session(report["session_id"])
    assert verified is not None
    assert verified.verification_success is False  # 33 % against 2 %
    assert "of 200 calls failed (2 %) before" in str(verified.verification_note)
    for rules, total, compared in (
        (Rules(), 200, Compared.SAME),
        (Rules(baseline_counts="contract"), 240, Compared.NOT_SEEN),
    ):
        (replayed,) = backtest(guard.store, lambda _name, r=rules: r, every=HOUR, now=NOW + DAY, limit=1)
        assert (replayed.replayed.baseline.total, replayed.compared) == (total, compared)


def test_what_a_baseline_does_not_count_stays(guard: Guard) -> None:
    """It is found when the session starts, once more when late calls have arrived, and is then kept."""
    agent = first_two(guard)
    guard.registry.deploy("my_tool", code(3), deployed_at=NOW + 2 * HOUR)
    session_id = guard.watch(at=NOW + 2 * HOUR)
    found = []
    for minutes in (1, 10, 16, 30):
        guard.monitor.check_health("my_tool", session_id, now=NOW + 2 * HOUR + minutes * MINUTE)
        left_out = guard.session(session_id).left_out
        assert left_out is not None
        found.append((left_out.calls, left_out.as_of))
        agent.live = 2
        agent.calls(0.0, 10, NOW + HOUR / 2)
    moments = [NOW + 2 * HOUR + minutes * MINUTE for minutes in (0, 16)]
    assert found == [(40, moments[0]), (40, moments[0]), (60, moments[1]), (60, moments[1])]


def test_a_good_version_is_reached_before_the_days_of_the_baseline(guard: Guard) -> None:
    """With an outage in all of its days the baseline reaches the calls of the week before, of the same version."""
    agent = Agent(guard, versions=False, baseline_window_days=1)
    for tool in ("my_tool", "a", "b"):
        agent.calls(1.0, 200, NOW - 2 * DAY, hours=20, tool=tool)
        agent.calls(0.0, 60, NOW - 11 * HOUR, hours=10, tool=tool)
        agent.calls(1.0, 400, NOW - 23.9 * HOUR, hours=12, tool="b" if tool == "b" else "a")
    report = agent.deploy(0.7, NOW)
    assert (report["verdict"], report["baseline"]["success_rate"]) == ("regressed", 1.0)
    assert report["baseline"]["left_out"]["reaches_back_to"] == (NOW - 2 * DAY).isoformat()
