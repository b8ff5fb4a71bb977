"""The contract's arithmetic is exact for all counts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.judge import Rules, Severity, Verdict, Window, compare, grade, judge
from rollguard.judge.reasons import points
from rollguard.model.formatting import seconds

BANDS = ((15, Severity.MEDIUM), (20, Severity.HIGH), (30, Severity.CRITICAL))


@st.composite
def windows(draw: st.DrawFn, smallest: int = 0, largest: int = 100_000) -> Window:
    """Valid counts."""
    total = draw(st.integers(smallest, largest))
    successes = draw(st.integers(0, total))
    timed = draw(st.integers(0, total))
    duration = draw(st.floats(0, 1e9)) if timed else 0.0
    return Window(total, successes, timed, duration)


def test_95_of_100_against_8_of_10_is_a_regression() -> None:
    """A drop of exactly the threshold is a regression, although 0.95 - 0.8 is below 0.15 in floats."""
    found = compare(Window(100, 95), Window(10, 8), Rules())
    assert 0.95 - 0.8 < 0.15
    assert found.success_rate_drop == Fraction(3, 20)
    assert found.regression_detected
    assert found.regression_severity is Severity.MEDIUM


@given(windows(10), windows(10), st.integers(1, 100))
def test_drop_compares_as_integers(baseline: Window, current: Window, percent: int) -> None:
    """The drop reaches a threshold of a/b exactly when f·nb·b >= n·(fb·b + a·nb)."""
    found = compare(baseline, current, Rules(regression_threshold=percent / 100))
    n, f, nb, fb = current.total, current.failures, baseline.total, baseline.failures
    assert found.regression_detected == (f * nb * 100 >= n * (fb * 100 + percent * nb))


@given(st.integers(1, 40).map(lambda k: 100 * k), st.data())
def test_every_band_edge_is_exact(total: int, data: st.DataObject) -> None:
    """A drop of exactly 15, 20 or 30 points belongs to the band it opens; one call less does not."""
    percent, severity = data.draw(st.sampled_from(BANDS))
    lost = total * percent // 100
    successes = data.draw(st.integers(lost, total))
    baseline = Window(total, successes)
    at_edge = compare(baseline, Window(total, successes - lost), Rules())
    below = compare(baseline, Window(total, successes - lost + 1), Rules())
    assert at_edge.regression_severity is severity
    assert list(Severity).index(below.regression_severity) == list(Severity).index(severity) - 1


@given(windows(), windows(), st.integers(1, 50))
def test_too_little_data_is_never_judged(baseline: Window, current: Window, least: int) -> None:
    """With fewer executions than needed on either side nothing is a regression, and nothing is healthy either."""
    judgement = judge(baseline, current, Rules(min_executions=least))
    sufficient = min(baseline.total, current.total) >= least
    assert (judgement.verdict is Verdict.INSUFFICIENT_DATA) == (not sufficient)
    assert sufficient or not (judgement.needs_rollback or judgement.comparison.performance_degradation)


@given(windows(10), windows(10))
def test_drop_is_the_negative_change(baseline: Window, current: Window) -> None:
    """The drop is the negative change of the rate, and never below 0."""
    found = compare(baseline, current, Rules())
    assert found.success_rate_change == Fraction(current.successes, current.total) - Fraction(
        baseline.successes, baseline.total
    )
    assert found.success_rate_drop == max(0, -found.success_rate_change)


@given(windows(10, 500), st.integers(10, 500), st.data())
def test_more_failures_never_look_better(baseline: Window, total: int, data: st.DataObject) -> None:
    """With the same number of calls, one more failure never lowers the severity."""
    failures = data.draw(st.integers(0, total - 1))
    order = list(Severity)
    less, more = (
        compare(baseline, Window(total, total - f), Rules()).regression_severity for f in (failures, failures + 1)
    )
    assert order.index(less) <= order.index(more)


@pytest.mark.parametrize(
    ("drop", "threshold", "severity"),
    [
        ("0.12", "0.10", "medium"),
        ("0.10", "0.10", "medium"),
        ("0.0999", "0.10", "none"),
        ("0.18", "0.20", "none"),
        ("0.20", "0.20", "high"),
        ("0.25", "0.30", "none"),
        ("0.30", "0.30", "critical"),
        ("0.31", "0.10", "critical"),
        ("0", "0.10", "none"),
    ],
)
def test_custom_thresholds_keep_the_bands(drop: str, threshold: str, severity: str) -> None:
    """Below 15 points a drop that reaches the threshold is medium; below the threshold nothing is graded."""
    assert grade(Fraction(drop), Fraction(threshold)) == severity


def test_200_percent_slower_is_three_times_as_long() -> None:
    """A mean of exactly three times the baseline's is a slowdown; a little less is not; neither is a rollback."""
    baseline = Window(10, 10, 10, 100.0)
    slow = judge(baseline, Window(10, 10, 10, 300.0), Rules())
    nearly = judge(baseline, Window(10, 10, 10, 299.999), Rules())
    assert slow.comparison.performance_degradation
    assert not nearly.comparison.performance_degradation
    assert not slow.needs_rollback
    assert "slower" in (slow.warning or "")


def test_long_durations_are_whole_numbers() -> None:
    """Minutes are said in whole milliseconds, never as a power of ten."""
    slow = judge(Window(10, 10, 10, 412_345.6), Window(10, 10, 10, 1_300_000.0), Rules())
    assert slow.warning is not None
    assert "130,000 ms on average, 41,235 ms before (3.15 times as long)" in slow.warning
    assert [seconds(value) for value in (0.25, 59.96, 1_800.0)] == ["0.25 s", "60 s", "1,800 s"]


def test_no_durations_are_no_slowdown() -> None:
    """Without durations, or with a baseline of 0 ms, there is no change of the duration."""
    timed = Window(10, 10, 10, 500.0)
    for baseline, current in ((Window(10, 10), timed), (timed, Window(10, 10)), (Window(10, 10, 10, 0.0), timed)):
        assert compare(baseline, current, Rules()).duration_change is None


@given(windows(0, 1000), windows(0, 1000), windows(0, 1000))
def test_windows_merge(a: Window, b: Window, c: Window) -> None:
    """Windows add up: the counts in any order, and the empty window changes nothing."""
    assert (a + b).total == a.total + b.total
    assert ((a + b) + c).successes == (a + (b + c)).successes
    assert a + Window() == a


@pytest.mark.parametrize("counts", [(1, 2), (-1, 0), (1, -1), (1, 1, 2)])
def test_impossible_counts_are_refused(counts: tuple[int, ...]) -> None:
    """A window cannot hold more successes or durations than executions."""
    with pytest.raises(InvalidInput, match="window"):
        Window(*counts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("monitoring_window_hours", 0),
        ("monitoring_window_hours", 1.5),
        ("monitoring_window_hours", True),
        ("baseline_window_days", 366),
        ("regression_threshold", 0),
        ("regression_threshold", 1.01),
        ("regression_threshold", float("nan")),
        ("regression_threshold", "0.15"),
        ("min_executions", 0),
        ("alpha", 0.5),
        ("alpha", 0),
        ("delta", 1),
        ("delta", -0.1),
        ("threshold", 0.1),
    ],
)
def test_impossible_rules_are_refused_by_name(key: str, value: object) -> None:
    """A setting out of its range is refused with its name."""
    with pytest.raises(InvalidSetting, match=key) as refused:
        Rules().with_overrides({key: value})
    assert refused.value.key == key


@given(st.fractions(0, 1))
def test_points_never_round_up(share: Fraction) -> None:
    """Percentage points are cut, so that a drop just below a threshold never looks as if it had reached it."""
    shown = Fraction(points(share)) / 100
    assert shown <= share < shown + Fraction(1, 10_000)


@given(windows(), windows())
def test_a_judgement_follows_from_its_record(baseline: Window, current: Window) -> None:
    """The record stored with a check is enough to reach the same judgement."""
    judgement = judge(baseline, current, Rules(regression_threshold=0.1, alpha=0.01))
    record = judgement.record()
    again = judge(Window.from_dict(record["baseline"]), Window.from_dict(record["current"]), Rules(**record["rules"]))
    assert again == judgement
