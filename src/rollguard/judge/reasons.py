"""Write the reasons of a verdict as sentences with numbers. Stored decision records quote them to the letter."""

from __future__ import annotations

import math
from fractions import Fraction

from rollguard.judge.arms import ArmsFound
from rollguard.judge.baseline import LeftOut, day
from rollguard.judge.comparison import Comparison, as_float
from rollguard.judge.hangs import Hangs
from rollguard.judge.rules import Rules
from rollguard.judge.score import Scores
from rollguard.judge.slowdown import Slowdown
from rollguard.judge.windows import Window

_MOST_NAMED = 10  # versions
_BOTH = "units failed on the new version and"


def compared(comparison: Comparison, rules: Rules) -> str:
    """Return both windows and the drop: '9 of 30 calls failed (30 %) since the deployment, …: drop 25 points ≥ 15'."""
    now, before = comparison.current, comparison.baseline
    if not now.total or not before.total or comparison.success_rate_change is None:
        return f"{now.total} calls since the deployment, {before.total} in the baseline: nothing to compare"
    counts = f"{_failed(now)} since the deployment, {_failed(before)} before"
    if comparison.success_rate_change > 0:
        return f"{counts}: success rate up {points(comparison.success_rate_change)} points"
    reached = "≥" if (comparison.success_rate_drop or 0) >= rules.threshold else "<"
    drop = points(comparison.success_rate_drop or Fraction(0))
    graded = f" ({comparison.regression_severity})" if comparison.regression_detected else ""
    return f"{counts}: drop {drop} points {reached} {points(rules.threshold)}{graded}"


def evidence(log_e: float, required: float) -> str:
    """Return the e-value and the required one: 'evidence 1796 ≥ 20'. Both arguments are natural logs."""
    sign = "≥" if log_e >= required else "<"
    return f"evidence {e_value(log_e)} {sign} {e_value(required)}"


def missing(comparison: Comparison, rules: Rules) -> str:
    """Return how many executions each window lacks."""
    lacking = [
        f"{rules.min_executions - window.total} more {period}"
        for window, period in (
            (comparison.baseline, "in the baseline"),
            (comparison.current, "since the deployment"),
        )
        if window.total < rules.min_executions
    ]
    return f"insufficient data: {rules.min_executions} executions are needed on both sides, {' and '.join(lacking)}"


def slower(comparison: Comparison, found: Slowdown | None) -> str:
    """Return how much longer the mean call takes, and the evidence for it."""
    before, now = comparison.baseline.avg_duration_ms, comparison.current.avg_duration_ms
    times = f"{(as_float(comparison.duration_change) or 0.0) + 1:.3g} times"
    sentence = f"slower: {milliseconds(now)} on average, {milliseconds(before)} before ({times} as long)"
    if found is None:
        return sentence
    share = f"{found.slow} of {found.timed} calls above {milliseconds(found.limit_ms)}"
    return f"{sentence}; {share}, {evidence(found.log_e, found.required)}"


def beside(found: ArmsFound) -> str:
    """Return what both versions did at once: 'beside each other 8 of 10 units failed on the new version and …'."""
    _share, new, new_failures, old, old_failures = found.arms.total
    counts = f"{new_failures} of {new} {_BOTH} {old_failures} of {old} on the old one"
    ended = "while the old version served too" if found.arms.confirms else "until the new version was promoted"
    while_ = "beside each other" if found.arms.serving else ended
    lost = ", no call of the new version arrived" if found.suspected and not new else ""
    return f"{while_} {counts}{lost}, {evidence(found.log_e, found.required)}"


def is_beside(sentence: str) -> bool:
    """Return whether a sentence is one of `beside`."""
    return _BOTH in sentence


def answers(found: Scores, rules: Rules) -> str:
    """Return the mean scores and the evidence: 'mean score 0.62 of 40 answers since the deployment, 0.91 of …'."""
    now, before = float(found.now), float(found.before)
    means = (
        f"mean score {now:.3g} of {found.scored} answers since the deployment, {before:.3g} of {found.scored_before}"
    )
    if not found.enough:
        return f"{means} before: too few to compare"
    drop = found.before - found.now
    if drop <= 0:
        return f"{means} before"
    sign = "≥" if found.dropped else "<"
    change = f"drop {points(drop)} points {sign} {points(rules.threshold)}"
    return f"{means} before: {change}, {evidence(found.log_e, found.required)}"


def left_out(out: LeftOut) -> str:
    """Return how many calls the baseline does not count and why, and how far it reaches back."""
    whose = []
    if out.versions:
        s = "s" if len(out.versions) > 1 else ""
        numbers = [*map(str, out.versions[-_MOST_NAMED:])]
        others = len(out.versions) - len(numbers)
        numbers += [f"{others} earlier ones"] if others else []
        whose.append(f"version{s} {', '.join(numbers)} (rolled back or found regressed)")
    if out.unknown:
        whose.append(f"{', '.join(day(start) for start, _end in out.unknown)} (found regressed)")
    if out.outages:
        whose.append(f"{out.outage_minutes} minutes in which other tools failed too")
    sentence = f"not counted in the baseline: {out.calls} calls, of {' and of '.join(whose)}"
    return sentence if out.start is None else f"{sentence}; so it reaches back to {out.start:%Y-%m-%d %H:%M} UTC"


def hung(hangs: Hangs) -> str:
    """Return how many calls hung, and whether they count: '5 calls hung since the deployment, 0 before: …'."""
    counted = f"{hangs.current} calls hung since the deployment, {hangs.baseline} before"
    if not hangs.counted:
        return f"{counted}: not counted, because the baseline was not recorded so from its beginning"
    limit = "" if hangs.limit_ms is None else f" (a caller gave up after more than {milliseconds(hangs.limit_ms)})"
    return f"{counted}{limit}: they count as failures"


def milliseconds(value: float | None) -> str:
    """Return a duration with four significant digits, in whole milliseconds from 1,000 on, or an en dash for none."""
    if value is None:
        return "–"
    return f"{value:,.0f} ms" if value >= 1_000 else f"{value:.4g} ms"


def e_value(log_e: float) -> str:
    """Return an e-value as a short number, from its natural log."""
    return f"{math.exp(log_e):.4g}" if log_e < 30 else f"e^{log_e:.1f}"


def points(share: Fraction) -> str:
    """Return a share (0 or more) as percentage points with up to two decimals: 0.15 → '15', 1/3 → '33.33'.

    The decimals are cut, not rounded: a drop just below a threshold never looks as if it had reached it.
    """
    hundredths = share.numerator * 10_000 // share.denominator
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    return text.rstrip("0").rstrip(".")


def _failed(window: Window) -> str:
    return f"{window.failures} of {window.total} calls failed ({points(Fraction(window.failures, window.total))} %)"
