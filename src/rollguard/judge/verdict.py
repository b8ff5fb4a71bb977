"""From two windows to a verdict with reasons that carry the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from rollguard.judge.comparison import Comparison, as_float, compare
from rollguard.judge.evidence import Evidence
from rollguard.judge.rules import Rules
from rollguard.judge.windows import Window

RULE_VERSION = 1  # written into every decision record; changes whenever the same counts could judge differently


class Verdict(StrEnum):
    """What a check found. No data is never `healthy`; a failing database is never `regressed`."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INSUFFICIENT_DATA = "insufficient_data"
    EXTERNAL = "external"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """What the evidence rule says of the current counts. `log_e` and `required` are natural logs."""

    alpha: float
    delta: float
    log_e: float
    required: float
    present: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """One decision. It follows from `comparison`'s windows and `rules` alone, so it can be made again from them."""

    rules: Rules
    comparison: Comparison
    evidence: EvidenceFound
    verdict: Verdict
    reasons: tuple[str, ...]
    warning: str | None
    needs_rollback: bool

    def record(self) -> dict[str, Any]:
        """The decision record: all that is needed to make the same decision again."""
        return {
            "rule_version": RULE_VERSION,
            "rules": {name: getattr(self.rules, name) for name in Rules.__dataclass_fields__},
            "baseline": self.comparison.baseline.to_dict(),
            "current": self.comparison.current.to_dict(),
            "verdict": str(self.verdict),
            "needs_rollback": self.needs_rollback,
        }


def judge(baseline: Window, current: Window, rules: Rules) -> Judgement:
    """Judge a deployment by the contract's threshold rule; the evidence is computed beside it."""
    comparison = compare(baseline, current, rules)
    test = Evidence(baseline.total, baseline.failures, rules.alpha, rules.delta)
    log_e = test.log_e(current.total, current.failures)
    evidence = EvidenceFound(rules.alpha, rules.delta, log_e, test.required, log_e >= test.required)
    reasons = [_describe(comparison, rules), _describe_evidence(evidence)]
    warning = None
    if not comparison.has_sufficient_data:
        verdict = Verdict.INSUFFICIENT_DATA
        warning = _what_is_missing(comparison, rules)
        reasons.append(warning)
    elif comparison.regression_detected:
        verdict = Verdict.REGRESSED
    else:
        verdict = Verdict.HEALTHY
    if comparison.performance_degradation:
        slow = _describe_slowdown(comparison)
        reasons.append(slow)
        warning = slow if warning is None else f"{warning}; {slow}"
    return Judgement(
        rules=rules,
        comparison=comparison,
        evidence=evidence,
        verdict=verdict,
        reasons=tuple(reasons),
        warning=warning,
        needs_rollback=comparison.regression_detected,
    )


def _describe(comparison: Comparison, rules: Rules) -> str:
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


def _failed(window: Window) -> str:
    return f"{window.failures} of {window.total} calls failed ({points(1 - (window.rate or Fraction(0)))} %)"


def _describe_evidence(evidence: EvidenceFound) -> str:
    sign = "≥" if evidence.present else "<"
    return f"evidence {_e_value(evidence.log_e)} {sign} {_e_value(evidence.required)}"


def _e_value(log_e: float) -> str:
    return f"{math.exp(log_e):.4g}" if log_e < 30 else f"e^{log_e:.1f}"


def _what_is_missing(comparison: Comparison, rules: Rules) -> str:
    short = [
        f"{rules.min_executions - window.total} more {where}"
        for window, where in (
            (comparison.baseline, "in the baseline"),
            (comparison.current, "since the deployment"),
        )
        if window.total < rules.min_executions
    ]
    return f"insufficient data: {rules.min_executions} executions are needed on both sides, {' and '.join(short)}"


def _describe_slowdown(comparison: Comparison) -> str:
    before, now = comparison.baseline.avg_duration_ms, comparison.current.avg_duration_ms
    return f"slower: {now:.4g} ms on average, {before:.4g} ms before ({_times(comparison)} as long)"


def _times(comparison: Comparison) -> str:
    return f"{(as_float(comparison.duration_change) or 0.0) + 1:.3g} times"


def points(share: Fraction) -> str:
    """A share (0 or more) as percentage points with up to two decimals: 0.15 → '15', 1/3 → '33.33'.

    Cut, not rounded, so that a drop just below a threshold never reads as if it had reached it.
    """
    hundredths = math.floor(share * 10_000)
    text = f"{hundredths // 100}.{hundredths % 100:02d}"
    return text.rstrip("0").rstrip(".")
