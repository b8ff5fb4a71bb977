"""Simulated calls: the same for the same seed, at the times and rates of the scenario."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import pytest

from rollguard.errors import InvalidInput
from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulate_counts import Act, Counted, Rollbacks, interval, play, replay, within
from rollguard.evaluate.traffic import DAY, HOUR, Call, calls_of
from rollguard.judge import Rules


def scenario(**values: Any) -> Scenario:
    return Scenario.from_mapping(values, "test")


def call(at: float, succeeded: bool, request: int | None = None) -> Call:
    return Call(at, succeeded, 1.0, None if succeeded else "ToolError", request)


def test_a_seed_determines_the_calls() -> None:
    """The same seed gives the same calls; another seed, tool or run gives others."""
    first = scenario(seed=3)
    assert calls_of(first, 0) == calls_of(scenario(seed=3, tools=1), 0)
    others = [calls_of(scenario(seed=4), 0), calls_of(first, 1), calls_of(first, 0, run=1)]
    assert all(other != calls_of(first, 0) for other in others)


def test_calls_come_in_order_and_in_time() -> None:
    """Calls come in order, from the start of the baseline to the end of the session, at the scenario's rate."""
    calls = calls_of(scenario(traffic={"calls_per_hour": 100, "watched_hours": 48}, retries={}), 0)
    times = [each.at for each in calls]
    assert times == sorted(times)
    assert times[0] >= -2 * DAY
    assert times[-1] <= 2 * DAY
    firsts = {each.request for each in calls}
    assert len(firsts) == pytest.approx(9600, rel=0.05)


def test_rates_change_at_their_time() -> None:
    """The success rate is `before` until the change, `after` from then on, and that of the outage during it."""
    played = scenario(
        traffic={"calls_per_hour": 2000},
        success={"before": 0.9, "after": 0.5, "changes_after_hours": 6},
        outage={"after_hours": 1, "minutes": 60, "success": 0.2},
    )
    calls = calls_of(played, 0)

    def rate(start: float, end: float) -> float:
        return statistics.mean(each.succeeded for each in calls if start * HOUR <= each.at < end * HOUR)

    assert rate(-48, 0) == pytest.approx(0.9, abs=0.01)
    assert rate(0, 1) == pytest.approx(0.9, abs=0.03)
    assert rate(1, 2) == pytest.approx(0.2, abs=0.04)
    assert rate(2, 6) == pytest.approx(0.9, abs=0.02)
    assert rate(6, 24) == pytest.approx(0.5, abs=0.02)


def test_only_some_tools_change() -> None:
    """The first `changed_tools` tools get worse; the others are called as if nothing had changed."""
    values = {"success": {"before": 0.9, "after": 0.1}, "durations": {"factor_after": 9.0}}
    played = scenario(changed_tools=1, **values)
    assert calls_of(played, 0) == calls_of(scenario(**values), 0)
    assert calls_of(played, 1) == calls_of(scenario(success={"before": 0.9}), 1)


def test_days_have_a_rhythm() -> None:
    """With a daily rhythm of 1 there are hardly calls at midnight, twelve hours after the deployment at noon."""
    calls = calls_of(scenario(traffic={"calls_per_hour": 500, "daily": 1.0}), 0)
    hours = Counter(int(each.at // HOUR) for each in calls if each.at >= 0)
    assert hours[11] + hours[12] < 0.1 * (hours[0] + hours[23])


def test_durations_and_errors_are_those_of_the_scenario() -> None:
    """The median duration, its factor after the deployment and the mix of errors are those of the scenario."""
    played = scenario(
        traffic={"calls_per_hour": 500},
        success={"before": 0.5},
        durations={"median_ms": 20.0, "factor_after": 3.0},
        errors={"TimeoutError": 3.0, "ValueError": 1.0},
    )
    calls = calls_of(played, 0)
    assert statistics.median(each.duration_ms for each in calls if each.at < 0) == pytest.approx(20, rel=0.05)
    assert statistics.median(each.duration_ms for each in calls if each.at >= 0) == pytest.approx(60, rel=0.05)
    kinds = Counter(each.error_type for each in calls if not each.succeeded)
    assert kinds["TimeoutError"] / kinds["ValueError"] == pytest.approx(3, rel=0.1)
    assert {each.error_type for each in calls if each.succeeded} == {None}


def test_a_request_that_is_tried_again_counts_once() -> None:
    """Calls of one request count once, with the last outcome, also where that changes; other calls count each."""
    counted = Counted(Rules())
    for each in (
        call(0, False, 1),
        call(1, False, 1),
        call(2, False, 2),
        call(3, True, 1),
        call(4, False),
        call(5, False),
    ):
        counted.add(each)
    assert (counted.total, counted.failures) == (4, 3)


def test_a_check_counts_the_calls_until_then() -> None:
    """A check counts the calls up to its own time; a run of failures is a trigger for ten minutes."""
    before = [call(-60.0 * i, True) for i in range(100, 0, -1)]
    run = [*before, *(call(10.0 + i, False) for i in range(3)), call(90.0, True)]
    alone = Rules(fast_triggers="alone", regression_threshold=1.0)
    assert replay(run, alone, every=5, until=DAY) == Act(15, 3)
    assert replay(run, alone, every=600, until=DAY) == Act(600, 4)
    assert replay(run, alone, every=700, until=DAY) is None


def test_every_rule_is_simulated() -> None:
    """Triggers, callers' errors and slowdowns decide as in the monitor."""
    before = [call(-60.0 * i, True) for i in range(100, 0, -1)]
    bad = [*before, *(call(60.0 * i, False) for i in range(20))]
    assert replay(bad, Rules(fast_triggers="off"), every=60, until=DAY) == Act(540, 10)
    assert replay(bad, Rules(), every=60, until=DAY) == Act(120, 3)
    assert replay(bad, Rules(caller_errors=("ToolError",)), every=60, until=DAY) is None
    slow = [*before, *(Call(60.0 * i, True, 9.0, None, None) for i in range(60))]
    assert replay(slow, Rules(), every=60, until=DAY) is None
    found = replay(slow, Rules(rollback_on_slowdown=True), every=60, until=DAY)
    assert found is not None
    assert found.calls < 30


def test_replay_finds_the_first_check_that_acts() -> None:
    """A tool that always fails is rolled back at the first check with enough calls; a good one is not."""
    before = [call(-60.0 * i, True) for i in range(100, 0, -1)]
    failing = [*before, *(call(60.0 * i, False) for i in range(20))]
    assert replay(failing, Rules(fast_triggers="off"), every=300, until=DAY) == Act(600, 11)
    assert replay(failing, Rules(decision="evidence"), every=300, until=DAY) == Act(300, 6)
    assert replay(before, Rules(decision="evidence"), every=300, until=DAY) is None


def test_the_baseline_is_that_of_the_rules() -> None:
    """Calls from before the baseline's days do not count."""
    calls = [call(-1.5 * DAY, True)] * 50 + [call(float(i), False) for i in range(50)]
    assert replay(calls, Rules(baseline_window_days=1), every=60, until=60) is None
    assert replay(calls, Rules(baseline_window_days=2), every=60, until=60) == Act(60, 50)


def test_a_drop_is_found_and_nothing_else() -> None:
    """Rollbacks before a version became worse are wrong, those after it are right, with the delay since then."""
    played = scenario(success={"before": 0.9, "after": 0.5, "changes_after_hours": 2.0})
    outcome = Rollbacks.of(played, [Act(HOUR, 9), Act(2 * HOUR + 60, 50), Act(3 * HOUR, 30), None])
    assert (outcome.deployments, outcome.wrong, outcome.right) == (4, 1, 2)
    assert (outcome.delays, outcome.calls) == ((60.0, HOUR), (30, 50))
    assert Rollbacks.of(scenario(), [Act(HOUR, 9), None]).wrong == 1
    one = scenario(tools=2, changed_tools=1, success={"after": 0.5})
    some = Rollbacks.of(one, [Act(60, 9), Act(60, 9), None, None])
    assert (some.deployments, some.worse, some.wrong, some.right) == (4, 2, 1, 1)
    found = Rollbacks.of(
        scenario(success={"after": 0.4}),
        play(scenario(success={"after": 0.4}), Rules(decision="evidence"), runs=1, every=300),
    )
    assert found.right == 20


def test_an_outage_before_the_deployment_is_no_baseline() -> None:
    """Minutes in which the other tools failed before the deployment are left out, unless by the contract's count."""
    values = {
        "tools": 4,
        "changed_tools": 1,
        "traffic": {"calls_per_hour": 60.0, "watched_hours": 2},
        "success": {"before": 0.95, "after": 0.7},
        "outage": {"after_hours": -20.0, "minutes": 600.0},
    }
    scenario = Scenario.from_mapping(values, "test")
    good, contract = (
        list(play(scenario, Rules(decision="evidence", baseline_counts=counts), runs=1, every=300.0))
        for counts in ("good_versions", "contract")
    )
    assert good[0] is not None
    assert contract[0] is None
    assert good[1:] == contract[1:] == [None] * 3


def test_intervals_and_quantiles() -> None:
    """None of 50 is at most 7.1 %, and the quantiles are values that were seen."""
    assert interval(0, 50) == (0.0, pytest.approx(0.0711, abs=1e-4))
    assert interval(50, 50) == (pytest.approx(0.9289, abs=1e-4), 1.0)
    assert [within([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.9, 1.0)] == [1, 2, 4, 4]
    assert within([], 0.5) is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"colour": 1}, "x.toml: colour: unknown key; the known ones are about, seed, tools, changed_tools"),
        (
            {"outage": {"minutes": 5, "after_hours": 1, "hours": 1}},
            "outage.hours: unknown key; the known ones are after",
        ),
        ({"outage": {"minutes": 5}}, "outage.after_hours: .*: field required"),
        ({"success": {"before": 1.5}}, "success.before: 1.5"),
        ({"tools": 0}, "tools: 0"),
        ({"traffic": 5}, "traffic: 5"),
        ({"errors": {"A": 0.0}}, "errors.A: 0.0"),
    ],
)
def test_impossible_scenarios_are_refused(values: dict[str, Any], says: str) -> None:
    """An unknown key or an impossible value is refused by its name."""
    with pytest.raises(InvalidInput, match=says):
        Scenario.from_mapping(values, "x.toml")
