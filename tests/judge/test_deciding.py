"""Deciding: triggers, slowdowns, confounders, ways to act, and replaying a decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.judge import (
    MOST_OUTCOMES,
    Confounder,
    Confounders,
    Evidence,
    Judgement,
    Outcome,
    Rules,
    Verdict,
    Window,
    change_point,
    confounder_baseline,
    differences,
    executions_needed,
    is_over,
    judge,
    replay,
    slowdown,
    trigger_in,
    widened_interval,
    worst_interval,
)
from rollguard.judge.histogram import bucket_of
from rollguard.judge.verdict import REPLAYED_VERSIONS

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
BASELINE = Window(1000, 950)
EVIDENCE = Rules(decision="evidence")


def _outcomes(text: str, seconds: float = 10.0) -> list[Outcome]:
    """`.` succeeded, `x` failed, `t` failed with a TypeError."""
    errors = {"x": "ValueError", "t": "TypeError"}
    return [Outcome(AT + timedelta(seconds=i * seconds), c == ".", errors.get(c)) for i, c in enumerate(text)]


def _timed(*durations: float, failures: int = 0) -> Window:
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    n = len(durations)
    return Window(n, n - failures, n, float(sum(durations)), tuple(sorted(counts.items())))


# --- triggers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "seconds", "name"),
    [
        (".xxx", 10, "consecutive_failures"),
        ("xxx.", 10, "consecutive_failures"),
        ("xx.x", 10, None),
        ("ttt", 10, "signature_change"),
        ("ttx", 10, "consecutive_failures"),
        ("xxxxx", 10, "complete_failure"),
        ("ttttt", 10, "signature_change"),
        ("xxxx", 10, "consecutive_failures"),
        ("xxx", 150, "consecutive_failures"),
        ("xxx", 151, None),
        ("xxxxxx", 151, None),
        (".....", 10, None),
        ("", 10, None),
    ],
)
def test_triggers(calls: str, seconds: float, name: str | None) -> None:
    """Three failures in a row or five of five, within five minutes; TypeErrors have a trigger of their own."""
    found = trigger_in(_outcomes(calls, seconds))
    assert (found.name if found else None) == name


@given(st.lists(st.sampled_from(".xt"), max_size=30), st.floats(1, 400))
def test_a_success_between_failures_is_no_run(calls: list[str], seconds: float) -> None:
    """Without three failures in a row the only possible trigger is a complete failure, which has no success."""
    text = "".join(calls)
    found = trigger_in(_outcomes(text, seconds))
    if found is not None:
        assert "xxx" in text.replace("t", "x") or found.name == "complete_failure"


def test_unknown_calls_are_not_reported_as_failed() -> None:
    """A check reads only the latest calls of a busy tool, so it cannot report that all of five minutes failed."""
    many = judge(BASELINE, Window(400, 200), Rules(), outcomes=lambda: _outcomes("x" * MOST_OUTCOMES, 0.1))
    assert many.trigger is not None
    assert many.trigger.name == "consecutive_failures"
    whole = judge(BASELINE, Window(400, 200), Rules(), outcomes=lambda: _outcomes("x" * MOST_OUTCOMES, 5.0))
    assert whole.trigger is not None
    assert whole.trigger.reason == "all 61 calls of 5 minutes failed"


def test_three_straight_failures_roll_back_at_the_third_call() -> None:
    """Against a healthy baseline three failures in a row are evidence, so the trigger acts, in both modes."""
    for decision in ("threshold", "evidence"):
        rules = Rules(decision=decision)
        third = judge(BASELINE, Window(3, 0), rules, scheduled=False, outcomes=lambda: _outcomes("xxx"))
        assert (third.needs_rollback, third.rollback_type, third.verdict) == (True, "fast", Verdict.REGRESSED)
        assert any("consecutive_failures" in reason for reason in third.reasons)


def test_a_trigger_without_evidence_does_not_act() -> None:
    """If failures are usual, three in a row do not act, unless triggers act alone; `off` finds no trigger."""
    weak, outcomes = Window(1000, 700), _outcomes("xxx")
    assert not judge(weak, Window(3, 0), Rules(), outcomes=lambda: outcomes).needs_rollback
    alone = judge(weak, Window(3, 0), Rules(fast_triggers="alone"), outcomes=lambda: outcomes)
    assert (alone.needs_rollback, alone.rollback_type) == (True, "fast")
    assert not judge(BASELINE, Window(3, 0), Rules(fast_triggers="off"), outcomes=lambda: outcomes).needs_rollback


def test_a_trigger_needs_a_baseline() -> None:
    """With fewer calls in the baseline than required, nothing acts on evidence."""
    assert not judge(Window(9, 9), Window(20, 0), EVIDENCE, outcomes=lambda: _outcomes("xxxxx")).needs_rollback


# --- the evidence rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nb", "fb", "n", "f", "rules", "acts"),
    [
        (1000, 50, 3, 3, EVIDENCE, False),
        (1000, 50, 5, 5, EVIDENCE, True),
        (1000, 50, 30, 9, EVIDENCE, True),
        (1000, 50, 40, 8, EVIDENCE, True),
        (100, 5, 20, 4, EVIDENCE, False),
        (20, 0, 10, 3, EVIDENCE, False),
        (10000, 1000, 60, 20, Rules(decision="evidence", alpha=0.01, delta=0.05), True),
        (100, 30, 200, 100, Rules(decision="evidence", alpha=0.01), False),
    ],
)
def test_the_evidence_rule_rolls_back(nb: int, fb: int, n: int, f: int, rules: Rules, acts: bool) -> None:
    """The published cases: evidence and a large enough drop roll back, one of them alone does not."""
    found = judge(Window(nb, nb - fb), Window(n, n - f), rules, scheduled=False)
    assert found.needs_rollback is acts
    assert found.rollback_type == ("evidence" if acts else None)


def test_a_drop_without_evidence_is_an_alert() -> None:
    """Under the evidence rule a drop that may be chance is only an alert: there is no verdict yet."""
    found = judge(Window(100, 95), Window(20, 16), EVIDENCE)
    assert found.comparison.regression_detected
    assert (found.verdict, found.needs_rollback) == (Verdict.INSUFFICIENT_DATA, False)
    assert "may be chance" in (found.alert or "")


def test_no_reason_of_a_rollback_denies_the_evidence() -> None:
    """If there is evidence, no sentence of the decision says that there is none."""
    found = judge(BASELINE, Window(30, 21), EVIDENCE)
    assert (found.verdict, found.needs_rollback, found.warning, found.alert) == (Verdict.REGRESSED, True, None, None)
    assert not any("no evidence" in reason for reason in found.reasons)


def test_evidence_without_the_drop_is_a_warning() -> None:
    """A rise of the failures that is certain but small is healthy with a warning."""
    found = judge(Window(10_000, 9_900), Window(5_000, 4_700), EVIDENCE)
    assert found.evidence.present
    assert (found.verdict, found.needs_rollback, found.alert) == (Verdict.HEALTHY, False, None)
    assert "less than the threshold" in (found.warning or "")


def test_the_threshold_rule_acts_on_schedule_only() -> None:
    """A look between two scheduled ones sees the regression, and leaves it to the schedule."""
    windows = Window(20, 19), Window(10, 8)
    assert judge(*windows, Rules()).needs_rollback
    between = judge(*windows, Rules(), scheduled=False)
    assert (between.needs_rollback, between.verdict) == (False, Verdict.REGRESSED)


COUNTS = st.integers(0, 3_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


@given(COUNTS, st.integers(1, 400), st.data())
def test_one_more_failure_never_calls_a_rollback_off(before: tuple[int, int], n: int, data: st.DataObject) -> None:
    """Decisions are monotone in the failures: more of them in as many calls never speak for the tool."""
    f = data.draw(st.integers(0, n - 1))
    for rules in (EVIDENCE, Rules()):
        less, more = (judge(Window(before[0], before[0] - before[1]), Window(n, n - k), rules) for k in (f, f + 1))
        assert more.needs_rollback or not less.needs_rollback
        assert more.evidence.log_e >= less.evidence.log_e - 1e-9


# --- slowdowns -------------------------------------------------------------------------------------------------------


def test_slow_calls_are_those_beyond_four_in_five_of_the_baseline() -> None:
    """The limit is the bucket's edge at the order statistic; what lies beyond it counts, exactly."""
    baseline = _timed(*range(1, 101))
    found = slowdown(baseline, _timed(*[500.0] * 20), alpha=0.05)
    assert found is not None
    assert 80 <= found.limit_ms < 84
    assert (found.slow_before, found.timed_before, found.slow, found.timed) == (20, 100, 20, 20)
    assert found.log_e == Evidence(100, 20).log_e(20, 20)
    assert found.present


@given(st.lists(st.floats(0.001, 1e7), min_size=10, max_size=200), st.lists(st.floats(0.001, 1e7), min_size=1))
def test_the_limit_never_counts_more_slow_calls_than_the_order_statistic(before: list[float], now: list[float]) -> None:
    """Against the exact order statistic the test is never less sure: fewer calls are slow, as many may have been."""
    found = slowdown(_timed(*before), _timed(*now), alpha=0.05)
    if found is not None:
        rank = -(-len(before) * 4 // 5)
        statistic = sorted(before)[rank - 1]
        assert statistic <= found.limit_ms
        assert found.slow == sum(duration > found.limit_ms for duration in now)
        assert found.slow_before == len(before) - rank


def test_a_slowdown_rolls_back_only_where_that_is_wished() -> None:
    """By default a slowdown is told; with `rollback_on_slowdown` and evidence it rolls back, on half of alpha."""
    windows = _timed(*[10.0] * 100), _timed(*[50.0] * 40)
    told = judge(*windows, Rules())
    assert (told.needs_rollback, told.verdict) == (False, Verdict.HEALTHY)
    assert "slower" in (told.warning or "")
    acted = judge(*windows, Rules(rollback_on_slowdown=True), scheduled=False)
    assert (acted.needs_rollback, acted.rollback_type) == (True, "slowdown")
    assert acted.evidence.alpha == 0.025
    few = judge(_timed(*[10.0] * 100), _timed(*[1.0] * 9, 5_000.0), Rules(rollback_on_slowdown=True))
    assert few.comparison.performance_degradation
    assert not few.needs_rollback  # one outlier makes a mean, but no evidence


# --- confounders -----------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 50).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=25),
    st.fractions(0, 1),
)
def test_the_worst_interval_is_the_worst(series: list[tuple[int, int]], usual: Fraction) -> None:
    """No other interval exceeds the allowed failures by more."""
    allowed = min(max(2 * usual, usual + Fraction(5, 100)), (usual + 1) / 2)

    def excess(start: int, end: int) -> Fraction:
        return sum((f - allowed * n for n, f in series[start:end]), Fraction(0))

    best = max((excess(a, b) for a in range(len(series)) for b in range(a + 1, len(series) + 1)), default=Fraction(0))
    found = worst_interval(series, usual)
    assert (found is None) == (best <= 0)
    assert found is None or excess(*found) == best


WINDOWS = st.integers(0, 40).flatmap(lambda n: st.builds(Window, st.just(n), st.integers(0, n)))


@given(WINDOWS, WINDOWS)
def test_removing_a_part_undoes_adding_it(part: Window, rest: Window) -> None:
    """A window without a part of it is the rest, durations included; without more than it holds it is empty."""
    one, two = _timed(1.0, 5.0, 5.0), _timed(5.0, 900.0)
    assert (part + rest).without(part) == rest
    assert (one + two).without(one) == two
    assert part.without(part + rest) == Window()


def test_a_confounder_is_compared_with_its_usual_or_its_latest_executions() -> None:
    """A confounder that already failed lately is compared with that; failures within chance change nothing."""
    usual = Window(1000, 950)
    assert confounder_baseline(usual, Window(30, 28)) is usual
    assert confounder_baseline(usual, Window()) is usual
    broken = Window(30, 10)
    assert confounder_baseline(usual, broken) is broken
    assert not Confounder("other_tool", "t", confounder_baseline(usual, broken), Window(30, 10)).is_affected
    assert Confounder("other_tool", "t", usual, Window(30, 10)).is_affected


def test_a_problem_is_over_when_calls_show_it() -> None:
    """Few successes show the end of a total failure, a milder problem needs more of them, and no calls show nothing."""
    assert not is_over(Window(30, 0), Window())
    assert is_over(Window(30, 0), Window(2, 2))
    assert not is_over(Window(30, 20), Window(5, 5))
    assert is_over(Window(30, 20), Window(20, 20))
    assert not is_over(Window(30, 20), Window(20, 14))


def test_a_problem_extends_to_where_calls_show_its_end() -> None:
    """Minutes without calls belong to a problem, up to a limit; those after successes do not."""
    bad, good, none = Window(5, 0), Window(2, 2), Window()
    assert widened_interval([good, none, bad, none, good, none], (2, 3), 15) == (0, 5)
    assert widened_interval([good, good, bad, good, good], (2, 3), 15) == (1, 4)
    assert widened_interval([none] * 9 + [bad] + [none] * 9, (9, 10), 3) == (6, 13)


def _confounders(rest: Window, *considered: Confounder) -> Confounders:
    return Confounders(considered, BASELINE, rest)


OUTAGE = Confounder("other_tool", "search", Window(1000, 990), Window(50, 5))


@pytest.mark.parametrize(
    ("hold", "decision", "holds"),
    [
        (None, "evidence", True),
        (None, "threshold", False),
        (True, "threshold", True),
        (False, "evidence", False),
    ],
)
def test_an_outage_is_reported_or_waited_for(hold: bool | None, decision: str, holds: bool) -> None:
    """If other tools fail too, a rollback waits if the rules hold it; otherwise the outage is only reported."""
    rules = Rules(decision=decision, hold_on_external=hold)
    found = judge(BASELINE, Window(50, 10), rules, confounders=lambda: _confounders(Window(5, 5), OUTAGE))
    assert found.needs_rollback is not holds
    assert (found.verdict is Verdict.EXTERNAL) is holds
    assert any("search fails too in the same minutes: 45 of 50, 10 of 1000 before" in r for r in found.reasons)


def test_failures_that_are_not_explained_roll_back() -> None:
    """A tool that also fails outside the outage is not protected by it."""
    found = judge(BASELINE, Window(80, 10), EVIDENCE, confounders=lambda: _confounders(Window(30, 5), OUTAGE))
    assert found.needs_rollback
    assert any("does not explain the rest: 25 of 30 calls failed" in reason for reason in found.reasons)


def test_a_confounder_that_is_not_affected_explains_nothing() -> None:
    """Other tools that fail as often as before explain nothing."""
    calm = Confounder("other_tool", "search", Window(1000, 990), Window(50, 49))
    found = judge(BASELINE, Window(50, 10), EVIDENCE, confounders=lambda: _confounders(Window(5, 5), calm))
    assert found.needs_rollback
    assert not any("search" in reason for reason in found.reasons)


def test_a_tool_that_failed_before_its_deployment_is_compared_with_that_hour() -> None:
    """A tool that already failed in the hour before is not rolled back, unless it fails more than in that hour."""
    hour = Confounder("hour_before", "t", Window(900, 860), Window(50, 10))
    same = judge(
        BASELINE, Window(50, 10), EVIDENCE, confounders=lambda: Confounders((hour,), hour.during, Window(50, 10))
    )
    assert (same.verdict, same.needs_rollback) == (Verdict.EXTERNAL, False)
    half = Confounder("hour_before", "t", Window(900, 860), Window(100, 60))
    worse = judge(
        BASELINE, Window(50, 0), EVIDENCE, confounders=lambda: Confounders((half,), half.during, Window(50, 0))
    )
    assert worse.needs_rollback


# --- replaying a decision --------------------------------------------------------------------------------------------


def _decisions() -> list[Judgement]:
    slow = _timed(*[10.0] * 100), _timed(*[50.0] * 40)
    return [
        judge(BASELINE, Window(30, 21), Rules()),
        judge(BASELINE, Window(30, 21), Rules(), scheduled=False),
        judge(BASELINE, Window(3, 0), EVIDENCE, outcomes=lambda: _outcomes("ttt")),
        judge(*slow, Rules(rollback_on_slowdown=True, caller_errors=("A", "B"), collapse_retries=1.5)),
        judge(BASELINE, Window(50, 10), EVIDENCE, confounders=lambda: _confounders(Window(5, 5), OUTAGE)),
        judge(Window(), Window(), Rules()),
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_decision_can_be_replayed_from_its_record(number: int) -> None:
    """The record, written as JSON and read back, gives the same decision, bit for bit."""
    made = _decisions()[number]
    record = json.loads(json.dumps(made.record()))
    again = replay(record)
    assert differences(record, again) == []
    assert (again.reasons, again.alert, again.warning) == (made.reasons, made.alert, made.warning)


def test_a_tampered_record_is_found() -> None:
    """Counts that do not give the recorded decision are reported as differences."""
    record: dict[str, Any] = judge(BASELINE, Window(30, 21), Rules()).record()
    record["current"] = {**record["current"], "successes": 29}
    assert any(
        line.startswith("verdict: recorded 'regressed', now 'healthy'") for line in differences(record, replay(record))
    )


@pytest.mark.parametrize("version", REPLAYED_VERSIONS)
def test_decisions_of_earlier_versions_can_be_replayed(version: int) -> None:
    """Records of each version of the rule give the same decisions after an upgrade, sentences included.

    A change that fails here needs a new `RULE_VERSION`, and must not change what earlier versions decide.
    """
    records = json.loads((Path(__file__).parent / "records" / f"version_{version}.json").read_text("utf-8"))
    assert len(records) == 9
    for record in records:
        again = replay(record)
        assert again.rule_version == record["rule_version"] == version
        close = 1e-9 if version == 2 else 1e-12
        assert again.evidence.log_e == pytest.approx(record["log_e"], rel=close)
        assert [line for line in differences(record, again) if not line.startswith("log_e")] == []
        if version == 2:  # the last bits of later ones are the machine's
            assert differences(record, again) == []


@pytest.mark.parametrize(
    "record", [{}, {"rule_version": 1}, {"rule_version": 99}, {"rule_version": 2}, {"rule_version": 3, "baseline": 3}]
)
def test_a_record_that_cannot_be_read_is_refused(record: dict[str, Any]) -> None:
    """A record of another version of the rule, or a broken one, is refused with the reason."""
    with pytest.raises(InvalidInput, match=r"version|record"):
        replay(record)


# --- executions needed -----------------------------------------------------------------------------------------------


@given(
    st.sampled_from([20, 100, 1000]).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n // 4))),
    st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.sampled_from(["threshold", "evidence"]),
    st.sampled_from([1, 3, 10, 40]),
)
@example((1000, 38), (26, 5), "evidence", 3)
def test_executions_needed_are_enough_and_no_fewer(
    before: tuple[int, int], since: tuple[int, int], decision: str, least: int
) -> None:
    """At the present rate, the reported number of further executions gives a verdict, and fewer do not."""
    rules, (n, f) = Rules(decision=decision, min_executions=least), since

    def judged(total: int) -> Judgement:
        failures = total * f // n
        return judge(Window(before[0], before[0] - before[1]), Window(total, total - failures), rules)

    more = executions_needed(judged(n))
    first = next((k for k in range(400) if judged(n + k).verdict is not Verdict.INSUFFICIENT_DATA), None)
    assert more == first if more is not None and more < 400 else first is None


def test_a_total_failure_needs_five_calls() -> None:
    """If a drop of 30 points with evidence is enough after five calls, no more are needed."""
    assert executions_needed(judge(BASELINE, Window(2, 0), EVIDENCE)) == 3


def test_without_a_baseline_no_number_is_enough() -> None:
    """A baseline that is too small stays too small."""
    assert executions_needed(judge(Window(5, 5), Window(100, 0), Rules())) is None
    assert executions_needed(judge(Window(50, 50), Window(4, 4), Rules())) == 6


# --- change points ---------------------------------------------------------------------------------------------------


def test_a_lasting_change_is_found() -> None:
    """A series whose rate changes for good is split there; an even one is not."""
    found = change_point([(100, 5)] * 20 + [(100, 30)] * 10)
    assert found is not None
    assert (found.at, found.rate_before, found.rate_after) == (20, 0.95, 0.7)
    assert change_point([(100, 5)] * 30) is None
    assert change_point([]) is None
    assert change_point([(10_000, 500)] * 20 + [(10_000, 600)] * 20) is None  # certain, but too small to report


# --- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("decision", "guess"),
        ("fast_triggers", True),
        ("baseline", ""),
        ("rollback_on_slowdown", 1),
        ("hold_on_external", "yes"),
        ("caller_errors", "ValueError"),
        ("caller_errors", [1]),
        ("caller_errors", [""]),
        ("collapse_retries", -1),
        ("collapse_retries", 3601),
        ("extend_until_sufficient", 0.5),
        ("extend_until_sufficient", 9000),
    ],
)
def test_impossible_rules_are_refused(key: str, value: object) -> None:
    """Each is refused with its name and what is allowed."""
    with pytest.raises(InvalidSetting, match=key):
        Rules(**{key: value})


def test_the_same_hours_need_a_week() -> None:
    """A baseline of the same hours of the week needs at least one week."""
    with pytest.raises(InvalidSetting, match="baseline_window_days of 7 or more"):
        Rules(baseline="same_hours", baseline_window_days=6)
