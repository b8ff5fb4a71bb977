"""A check's result as the plain, JSON-safe dict that people and programs read, and as the row that is stored."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from rollguard.judge import Judgement, Verdict, Window, as_float, executions_needed
from rollguard.model.session import Session

PERCENTILES = (50, 95, 99)
_SHARES = tuple(percent / 100 for percent in PERCENTILES)
_PERCENTILES = tuple(f"p{percent}_ms" for percent in PERCENTILES)
_OF_WINDOW = ("success_rate", "total_executions", "avg_duration_ms", *_PERCENTILES)
_OF_COMPARISON = (
    *("success_rate_drop", "duration_change", "performance_degradation", "regression_detected"),
    "regression_severity",
)


def health_report(session: Session, judgement: Judgement, until: datetime, now: datetime) -> dict[str, Any]:
    """The report of one check. Times are ISO 8601 in UTC; rates and drops are shares (0.15 is 15 points)."""
    rules, comparison, evidence = judgement.rules, judgement.comparison, judgement.evidence
    slow, around = judgement.slowdown, judgement.confounders
    which = "" if rules.baseline == "before" else ", the same hours of the week"
    baseline = _period(
        f"{rules.baseline_window_days} days before deployment{which}",
        session.baseline_start,
        session.deployment_time,
        comparison.baseline,
        rules.min_executions,
    )
    current = _period("since deployment", session.deployment_time, until, comparison.current, rules.min_executions)
    return {
        "tool_name": session.tool_name,
        "session_id": session.session_id,
        "session_status": session.status,
        "version_number": session.version_number,
        "deployment_time": session.deployment_time.isoformat(),
        "hours_since_deployment": (now - session.deployment_time).total_seconds() / 3600.0,
        "checked_at": now.isoformat(),
        "baseline": baseline,
        "current": current,
        "comparison": {
            "has_sufficient_data": comparison.has_sufficient_data,
            "baseline_success_rate": baseline["success_rate"],
            "current_success_rate": current["success_rate"],
            "success_rate_change": as_float(comparison.success_rate_change),
            "success_rate_drop": as_float(comparison.success_rate_drop),
            "duration_change": as_float(comparison.duration_change),
            "performance_degradation": comparison.performance_degradation,
            "regression_detected": comparison.regression_detected,
            "regression_severity": str(comparison.regression_severity),
            "warning": judgement.warning,
        },
        "slowdown": None if slow is None else asdict(slow) | {"present": slow.present},
        "evidence": {
            "alpha": evidence.alpha,
            "delta": evidence.delta,
            "log_e": evidence.log_e,
            "required": evidence.required,
            "present": evidence.present,
        },
        "decision": rules.decision,
        "trigger": None if judgement.trigger is None else judgement.trigger.name,
        "explanations": [] if around is None else [w.sentence for w in around.considered if w.is_affected],
        "executions_needed": executions_needed(judgement),
        "baseline_notes": list(session.baseline_notes),
        "verdict": str(judgement.verdict),
        "reasons": list(judgement.reasons),
        "needs_rollback": judgement.needs_rollback,
    }


def check_row(judgement: Judgement, report: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The columns of `deployment_health_checks` for one check, from its report."""
    baseline, current, comparison = report["baseline"], report["current"], report["comparison"]
    return {
        **{f"baseline_{name}": baseline[name] for name in _OF_WINDOW},
        **{f"current_{name}": current[name] for name in _OF_WINDOW},
        **{name: comparison[name] for name in _OF_COMPARISON},
        "tool_name": report["tool_name"],
        "checked_at": now,
        "needs_rollback": judgement.needs_rollback,
        "verdict": str(judgement.verdict),
        "reasons": list(judgement.reasons),
        "record": judgement.record(),
    }


def failed_check_row(session: Session, error: Exception, now: datetime) -> dict[str, Any]:
    """The columns of a check that could not be made: the verdict is `error`, never `regressed`."""
    return {
        "tool_name": session.tool_name,
        "checked_at": now,
        "verdict": str(Verdict.ERROR),
        "reasons": [f"{type(error).__name__}: {error}"],
    }


def _period(words: str, start: datetime, end: datetime, window: Window, min_executions: int) -> dict[str, Any]:
    return {
        "period": words,
        "start": start.isoformat(),
        "end": end.isoformat(),
        "total_executions": window.total,
        "successes": window.successes,
        "success_rate": window.success_rate,
        "avg_duration_ms": window.avg_duration_ms,
        **dict(zip(_PERCENTILES, window.percentiles_ms(_SHARES), strict=True)),
        "sufficient_data": window.total >= min_executions,
    }
