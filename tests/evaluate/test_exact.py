"""Exact probabilities: against every path, against the published figures, and below alpha on a grid of rates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollguard.errors import InvalidInput
from rollguard.evaluate.boundaries import Lines, lines_of, sprt_line
from rollguard.evaluate.exact import delay, false_rollback, likely, mixed_over_baselines, stopping
from rollguard.judge import Evidence, Outcome, Rules, Window, judge
from rollguard.judge.triggers import IN_A_ROW

RATES = st.floats(0.0, 1.0)
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
THRESHOLD, EVIDENCE = Rules(fast_triggers="off"), Rules(decision="evidence", fast_triggers="off")
BOTH = pytest.mark.parametrize("rules", [THRESHOLD, EVIDENCE], ids=["threshold", "evidence"])


def _by_paths(lines: Lines, q: float) -> list[float]:
    """Return the same as `stopping`, from each of the 2^n paths."""
    acted = [0.0] * (lines.horizon + 1)
    for path in itertools.product((0, 1), repeat=lines.horizon):
        failures = in_a_row = 0
        for n, failed in enumerate(path, start=1):
            failures += failed
            in_a_row = in_a_row + 1 if failed else 0
            by_run = lines.run is not None and in_a_row >= IN_A_ROW and failures >= lines.run[n]
            if failures >= lines.counts[n] or by_run:
                acted[n] += math.prod(q if step else 1 - q for step in path)
                break
    return acted


@given(st.lists(st.integers(0, 9), min_size=9, max_size=9), st.lists(st.integers(0, 9), min_size=9, max_size=9), RATES)
@settings(max_examples=25)
def test_paths_agree(counts: list[int], run: list[int], q: float) -> None:
    """For any line, with and without triggers, the probability of acting at n calls is that of its paths."""
    for lines in (Lines(counts), Lines(counts, run)):
        assert stopping(lines, q) == pytest.approx(_by_paths(lines, q), abs=1e-12)


@given(st.integers(0, 300), st.data())
@settings(max_examples=30)
def test_threshold_lines_are_what_the_judge_decides(nb: int, data: st.DataObject) -> None:
    """A count on the contract's line needs a rollback, and one failure fewer does not."""
    fb = data.draw(st.integers(0, nb))
    n = data.draw(st.integers(1, 60))
    rules = replace(THRESHOLD, regression_threshold=data.draw(st.sampled_from([0.05, 0.15, 0.3, 1.0])))
    least = lines_of(rules, nb, fb, n).counts[n]
    baseline = Window(nb, nb - fb)
    if least <= n:
        assert judge(baseline, Window(n, n - least), rules).needs_rollback
    if least > 0:
        assert not judge(baseline, Window(n, n - min(n, least - 1)), rules).needs_rollback


@given(st.integers(0, 3000), st.sampled_from([0.01, 0.05, 0.2, 0.49]), st.sampled_from([0.0, 0.05]), st.data())
@settings(max_examples=30)
def test_evidence_boundary_is_where_evidence_begins(nb: int, alpha: float, delta: float, data: st.DataObject) -> None:
    """On the boundary there is evidence, one failure below there is none, at any number of calls."""
    test = Evidence(nb, data.draw(st.integers(0, nb)), alpha, delta)
    boundary = test.boundary(120)
    for n in data.draw(st.lists(st.integers(0, 120), max_size=8)):
        assert boundary[n] == next((f for f in range(n + 1) if test.present(n, f)), n + 1)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (lines_of(EVIDENCE, 1000, 50, 500), {1.0: (5, 5), 0.4: (9.3, 17), 0.25: (25.0, 48)}),
        (lines_of(THRESHOLD, 1000, 50, 500), {1.0: (10, 10), 0.4: (10.3, 10), 0.25: (17.1, 28)}),
    ],
    ids=["evidence", "threshold"],
)
def test_delays(lines: Lines, says: dict[float, tuple[float, int]]) -> None:
    """With 1,000 baseline calls at 95 %: total failure, a drop of 35 points and one of 20, mean and nine tenths."""
    for rate, (mean, p90) in says.items():
        found = delay(lines, rate)
        assert found.found > 0.999
        assert found.mean == pytest.approx(mean, abs=0.06)
        assert found.p90 == p90


@pytest.mark.parametrize("after", [0.25, 0.4])
def test_evidence_is_close_to_the_fastest_test_there_is(after: float) -> None:
    """Evidence takes at most 1.3 times as long as the test that knows both rates."""
    evidence = delay(Lines(Evidence(1000, 50).boundary(500)), after).mean
    fastest = delay(Lines(sprt_line(0.05, after, 0.05, 500)), after).mean
    assert evidence is not None
    assert fastest is not None
    assert 1.2 <= evidence / fastest <= 1.3


def test_fastest_test_keeps_its_alpha() -> None:
    """The sequential probability ratio test is wrong with probability alpha at most."""
    assert 0.01 < math.fsum(stopping(Lines(sprt_line(0.05, 0.25, 0.05, 2000)), 0.05)) <= 0.05
    assert math.fsum(stopping(Lines(sprt_line(0.05, 1.0, 0.05, 2000)), 0.05)) <= 0.05


@pytest.mark.parametrize(("rate", "chance"), [(0.01, 0.007), (0.05, 0.08), (0.10, 0.14), (0.30, 0.30)])
def test_threshold_rolls_unchanged_tools_back(rate: float, chance: float) -> None:
    """The contract's rule, checked after each of 2,000 calls, 100 calls before: its published risks."""
    digits = 3 if chance < 0.01 else 2
    assert round(false_rollback(THRESHOLD, 100, rate, 2000), digits) == chance


@pytest.mark.long
def test_threshold_at_its_worst() -> None:
    """At the worst rates the contract's rule rolls back a third of unchanged tools; 42 % with ten calls before."""
    assert false_rollback(THRESHOLD, 100, 0.46, 2000, unseen=1e-4) == pytest.approx(0.33, abs=0.005)
    assert false_rollback(THRESHOLD, 10, 0.45, 2000, unseen=1e-4) == pytest.approx(0.42, abs=0.005)


@pytest.mark.parametrize(("rate", "chance"), [(0.05, 0.07), (0.30, 0.27)])
def test_threshold_checked_288_times_a_day(rate: float, chance: float) -> None:
    """A check each five minutes of a tool called as often, with 1,000 calls before: 7 % at 95 % and 27 % at 70 %."""
    assert round(false_rollback(THRESHOLD, 1000, rate, 288, unseen=1e-4), 2) == chance


@pytest.mark.parametrize(("rate", "chance"), [(0.01, 0.001), (0.05, 0.006), (0.10, 0.009)])
def test_evidence_seldom_rolls_unchanged_tools_back(rate: float, chance: float) -> None:
    """The evidence rule on the same calls: its published risks."""
    assert round(false_rollback(EVIDENCE, 100, rate, 2000, unseen=1e-4), 3) == chance


# Rates where few failures, or few successes, decide, and rates at which a drop is reached exactly.
GRID = [
    (baseline, rate)
    for baseline in (10, 13, 60, 100, 1000, 10_000)
    for rate in (0.001, 0.0123, 0.05, 1 / 9, 0.15, 0.3, 0.5, 0.8)
]
LONG = [(60, 0.05), (1000, 0.05), (1000, 0.3), (10_000, 0.01)]


def bounded_over_baselines(
    baseline_calls: int, rate: float, chance: Callable[[int], float], *, unseen: float = 1e-9, step: float = 0.3
) -> float:
    """An upper bound of that mean for a chance that never rises with the baseline's failures, at a share of the work.

    Baselines with neighbouring numbers of failures are taken at the chance of the one that failed least: so many
    standard deviations of them together, and three times as many where the baseline failed more than usual.
    """
    deviation, mean = math.sqrt(baseline_calls * rate * (1.0 - rate)), baseline_calls * rate
    total = seen = least_chance = 0.0
    until = -1
    for failures, weight in sorted(likely(baseline_calls, rate, unseen)):
        if failures >= until:
            least_chance = chance(failures)
            until = failures + max(1, int(step * deviation * (3 if failures > mean else 1)))
        total, seen = total + weight * least_chance, seen + weight
    return min(1.0, total + max(0.0, 1.0 - seen))


def _evident(baseline: int, rate: float, alpha: float, horizon: int, delta: float = 0.0) -> float:
    """An upper bound of the probability of evidence at any of so many calls, none of which fails more than before."""

    def chance(failures: int) -> float:
        return math.fsum(stopping(Lines(Evidence(baseline, failures, alpha, delta).boundary(horizon)), rate + delta))

    return bounded_over_baselines(baseline, rate, chance, unseen=alpha / 100, step=0.5)


@pytest.mark.long
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_evidence_keeps_its_alpha(alpha: float) -> None:
    """Whatever the rate and the baseline, an unchanged tool is rolled back with probability alpha at most.

    Each way to act, triggers too, needs evidence; so evidence, checked after every call, has to keep it.
    """
    for baseline, rate in GRID:
        assert _evident(baseline, rate, alpha, 200) <= alpha, (baseline, rate)


@pytest.mark.long
def test_evidence_keeps_its_alpha_over_many_calls() -> None:
    """Checks after each of 2,000 calls cost hardly more than after each of 200: the error does not add up."""
    for baseline, rate in LONG:
        few, many = (_evident(baseline, rate, 0.05, horizon) for horizon in (200, 2000))
        assert few <= many <= min(0.05, 1.2 * few), (baseline, rate)


@pytest.mark.parametrize(("baseline", "rate"), [(10, 0.05), (100, 0.0), (100, 0.1), (1000, 0.3), (10_000, 0.9)])
def test_a_forgiven_rise_keeps_alpha_too(baseline: int, rate: float) -> None:
    """A version that fails by exactly `delta` more often than before is rolled back with probability alpha at most."""
    assert _evident(baseline, rate, 0.05, 300, delta=0.04) <= 0.05


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 1.0])
def test_a_bound_over_baselines_is_one(rate: float) -> None:
    """Taking neighbouring baselines together gives no less than their mean, and the mean where none are."""

    def chance(failures: int) -> float:
        return float(0.9**failures)

    mean = mixed_over_baselines(50, rate, chance)
    assert bounded_over_baselines(50, rate, chance, step=0.0) == pytest.approx(mean, abs=1e-12)
    assert mean - 1e-12 <= bounded_over_baselines(50, rate, chance) <= 1.2 * mean


CALLS = st.lists(st.sampled_from([None, "ValueError", "TypeError"]), max_size=12)


@given(st.integers(0, 400), st.integers(0, 40), CALLS, st.booleans(), st.data())
def test_nothing_acts_without_evidence(
    nb: int, n: int, calls: list[str | None], due: bool, data: st.DataObject
) -> None:
    """Whatever acts under the evidence rule, triggers too, has evidence; and whatever has both it and a drop acts."""
    baseline = Window(nb, nb - data.draw(st.integers(0, nb)))
    f = data.draw(st.integers(0, n))
    outcomes = [Outcome(AT + timedelta(seconds=i), error is None, error) for i, error in enumerate(calls)]
    rules = Rules(decision="evidence", regression_threshold=data.draw(st.sampled_from([0.05, 0.15, 0.5])))
    found = judge(baseline, Window(n, n - f), rules, scheduled=due, outcomes=lambda: outcomes)
    if found.needs_rollback:
        assert Evidence(nb, baseline.failures, rules.alpha).present(n, f)
    elif found.evidence.present:
        assert not found.comparison.regression_detected


@pytest.mark.parametrize("rules", [replace(THRESHOLD, alpha=0.4), Rules(decision="evidence", alpha=0.4)], ids=str)
def test_exact_figures_are_those_of_many_streams(rules: Rules) -> None:
    """Of 3,000 simulated versions as many are rolled back as the exact probability says, within 4 deviations."""
    chance, lines, runs, acted = Random(7), dict[int, Lines](), 3000, 0
    for _ in range(runs):
        fb = sum(chance.random() < 0.3 for _ in range(20))
        if fb not in lines:
            lines[fb] = lines_of(rules, 20, fb, 100)
        mine, failures, in_a_row = lines[fb], 0, 0
        for n in range(1, 101):
            failed = chance.random() < 0.3
            failures, in_a_row = failures + failed, in_a_row + 1 if failed else 0
            by_run = mine.run is not None and in_a_row >= IN_A_ROW and failures >= mine.run[n]
            if failures >= mine.counts[n] or by_run:
                acted += 1
                break
    exact = false_rollback(rules, 20, 0.3, 100)
    assert 0.01 < exact < 0.5
    assert abs(acted / runs - exact) <= 4 * math.sqrt(exact * (1 - exact) / runs)


@BOTH
def test_triggers_add_less_than_alpha(rules: Rules) -> None:
    """Three failures in a row act only together with evidence, so that they add little in both modes."""
    without = false_rollback(rules, 100, 0.04, 60)
    with_triggers = false_rollback(replace(rules, fast_triggers="with_evidence"), 100, 0.04, 60)
    assert without < with_triggers < without + 0.005


@BOTH
def test_fewer_checks_are_fewer_rollbacks(rules: Rules) -> None:
    """Checks after every 25th call roll back less often than checks after each; without checks nothing does."""
    every = false_rollback(rules, 50, 0.2, 200)
    assert false_rollback(rules, 50, 0.2, 200, looks=lambda n: n % 25 == 0) < every
    assert false_rollback(rules, 50, 0.2, 200, looks=lambda n: False) <= 1e-9


@BOTH
def test_nothing_acts_on_too_few_calls(rules: Rules) -> None:
    """Below `min_executions` before the deployment, and without failures, nothing is ever rolled back."""
    assert false_rollback(replace(rules, fast_triggers="with_evidence"), 9, 0.5, 100) <= 1e-9
    assert false_rollback(rules, 100, 0.0, 100) == 0.0
    assert false_rollback(rules, 100, 1.0, 100) == 0.0


def test_delay_of_a_rule_that_never_acts() -> None:
    """If a rule never acts there is no delay, rather than one of 0 calls."""
    found = delay(lines_of(EVIDENCE, 100, 5, 50), 0.0)
    assert (found.found, found.mean, found.median, found.p90) == (0.0, None, None, None)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_impossible_rates_are_refused(rate: float) -> None:
    """A failure rate lies between 0 and 1."""
    with pytest.raises(InvalidInput, match="rate"):
        false_rollback(THRESHOLD, 10, rate, 10)
