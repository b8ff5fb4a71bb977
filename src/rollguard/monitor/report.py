"""The result of a check: a typed object, a plain dict for users, and the row that is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from rollguard.judge import ArmsFound, Judgement, LeftOut, Scores, Verdict, Window, as_float, executions_needed
from rollguard.judge.silence import Silence
from rollguard.model.confirming import Confirming, ConfirmSigns
from rollguard.model.in_flight import CallInFlight
from rollguard.model.ramp import Signs
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session

PERCENTILES = (50, 95, 99)
_SHARES = tuple(percent / 100 for percent in PERCENTILES)
_PERCENTILES = tuple(f"p{percent}_ms" for percent in PERCENTILES)
_OF_WINDOW = ("success_rate", "total_executions", "avg_duration_ms", *_PERCENTILES)
_BASELINE_COLUMNS = tuple(f"baseline_{name}" for name in _OF_WINDOW)
_CURRENT_COLUMNS = tuple(f"current_{name}" for name in _OF_WINDOW)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The result of one check of a session.

    Attributes:
        session: the session when the check began.
        judgement: the decision and its inputs.
        until: the end of the current window.
        checked_at: the moment of the check.
        counted_baseline: the baseline as it was counted, before calls that hung were added.
        in_flight: calls of the version that began and have not ended.
        silence: that nobody calls the tool any more, if a scheduled check found so.
        rollout: the rollout that the session began with, if it did.
    """

    session: Session
    judgement: Judgement
    until: datetime
    checked_at: datetime
    counted_baseline: Window
    in_flight: tuple[CallInFlight, ...] = ()
    silence: Silence | None = None
    rollout: Rollout | None = None

    @property
    def needs_rollback(self) -> bool:
        """Return whether to roll the deployment back; False if the session has ended."""
        return self.judgement.needs_rollback and self.session.active

    @property
    def signs(self) -> Signs | None:
        """Return what the check found of an open rollout, None without one.

        Evidence is acted upon by a rollback; where that was not made, it only holds the share.
        """
        if self.rollout is None or not self.rollout.open:
            return None
        found = (ConfirmSigns if isinstance(self.rollout.ramp, Confirming) else Signs).of(self.judgement)
        return replace(found, evidence=False, suspected=found.suspected or found.evidence)

    @property
    def moves_rollout(self) -> bool:
        """Return whether the check changes the stage or the state of its rollout."""
        if self.rollout is None or self.signs is None:
            return False
        before, after = self.rollout.ramp, self.rollout.ramp.after(self.signs, self.checked_at)
        return (before.state, before.stage) != (after.state, after.stage)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-safe report. Times are ISO 8601 in UTC; rates and drops are shares (0.15 is 15 points)."""
        session, judgement, now = self.session, self.judgement, self.checked_at
        rules, comparison, evidence = judgement.rules, judgement.comparison, judgement.evidence
        slow, around = judgement.slowdown, judgement.confounders
        which = "" if rules.baseline == "before" else ", the same hours of the week"
        which += "" if session.baseline_begins == session.baseline_start else ", and further back"
        out = session.left_out or LeftOut(session.deployment_time)
        baseline = _period(
            f"{rules.baseline_window_days} days before deployment{which}",
            session.baseline_begins,
            session.deployment_time,
            comparison.baseline,
            rules.min_executions,
        )
        baseline["left_out"] = {
            "versions": list(out.versions),
            "executions": out.calls,
            "outage_minutes": out.outage_minutes,
            "reaches_back_to": None if out.start is None else out.start.isoformat(),
        }
        current = _period(
            "since deployment", session.deployment_time, self.until, comparison.current, rules.min_executions
        )
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
            "scores": None if judgement.scores is None else _scores(judgement.scores),
            "slowdown": None if slow is None else asdict(slow) | {"present": slow.present},
            "evidence": {
                "alpha": evidence.alpha,
                "delta": evidence.delta,
                "log_e": evidence.log_e,
                "required": evidence.required,
                "present": evidence.present,
            },
            "rollout": None if self.rollout is None else _beside(self.rollout, judgement.arms),
            "confirmation": None if judgement.confirmation is None else judgement.confirmation.to_dict(),
            "hangs": None if judgement.hangs is None else judgement.hangs.to_dict(),
            "in_flight": [call.to_dict() for call in self.in_flight],
            "silence": None if self.silence is None else self.silence.to_dict(),
            "decision": rules.decision,
            "trigger": None if judgement.trigger is None else judgement.trigger.name,
            "explanations": [] if around is None else [w.sentence for w in around.considered if w.is_affected],
            "executions_needed": executions_needed(judgement),
            "creeping": None if judgement.creeping is None else judgement.creeping.sentence,
            "baseline_notes": list(session.baseline_notes),
            "verdict": str(judgement.verdict),
            "reasons": list(judgement.reasons),
            "needs_rollback": self.needs_rollback,
        }

    def to_row(self) -> dict[str, Any]:
        """Return the columns of `deployment_health_checks`, without the ids."""
        judgement, comparison = self.judgement, self.judgement.comparison
        row: dict[str, Any] = dict(zip(_BASELINE_COLUMNS, _of_window(comparison.baseline), strict=True))
        row.update(zip(_CURRENT_COLUMNS, _of_window(comparison.current), strict=True))
        row.update(
            tool_name=self.session.tool_name,
            checked_at=self.checked_at,
            success_rate_drop=as_float(comparison.success_rate_drop),
            duration_change=as_float(comparison.duration_change),
            performance_degradation=comparison.performance_degradation,
            regression_detected=comparison.regression_detected,
            regression_severity=str(comparison.regression_severity),
            needs_rollback=judgement.needs_rollback,
            verdict=str(judgement.verdict),
            reasons=list(judgement.reasons),
            record=judgement.record(),
            silent_since=None if self.silence is None else self.silence.since,
        )
        return row


def in_flight_of(session: Session, calls: Sequence[CallInFlight], until: datetime) -> tuple[CallInFlight, ...]:
    """Return the calls that a session is about, among all that have not ended."""
    return tuple(
        call
        for call in calls
        if call.tool_name == session.tool_name
        and call.version_number in (session.version_number, None)
        and session.deployment_time <= call.began_at <= until
    )


def failed_check_row(session: Session, error: Exception, now: datetime) -> dict[str, Any]:
    """Return the columns of a check that failed: the verdict is `error`, never `regressed`."""
    return {
        "tool_name": session.tool_name,
        "checked_at": now,
        "verdict": str(Verdict.ERROR),
        "reasons": [f"{type(error).__name__}: {error}"],
    }


def _of_window(window: Window) -> tuple[float | None, ...]:
    return (window.success_rate, window.total, window.avg_duration_ms, *window.percentiles_ms(_SHARES))


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


def _beside(rollout: Rollout, found: ArmsFound | None) -> dict[str, Any]:
    """Return a rollout with the counts of both versions, and the evidence from them."""
    about = rollout.to_dict()
    del about["tool_name"], about["session_id"], about["arms"]
    if found is None:
        return about | {"arms": None, "evidence": None}
    _share, new, new_failures, old, old_failures = found.arms.total
    names = ("alpha", "log_e", "required", "present", "suspected")
    return about | {
        "arms": {
            "new": {"version_number": rollout.new_version, "units": new, "failures": new_failures},
            "old": {"version_number": rollout.old_version, "units": old, "failures": old_failures},
        },
        "evidence": {name: getattr(found, name) for name in names},
    }


def _scores(found: Scores) -> dict[str, Any]:
    means = {"before": as_float(found.before), "now": as_float(found.now)}
    return asdict(found) | means | {"present": found.present}
