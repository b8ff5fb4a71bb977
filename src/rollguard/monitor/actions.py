"""Act on a check: roll back, complete the session, or do nothing yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollguard.errors import RollbackRefused
from rollguard.judge import Judgement, Verdict, as_float, reasons
from rollguard.model.confirming import Confirming
from rollguard.model.log import logger_of
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session
from rollguard.monitor.confirmations import Confirmations
from rollguard.monitor.report import HealthReport
from rollguard.rollback import RollbackRunner
from rollguard.rollout import RolloutSteps
from rollguard.store import ExecutionStore, Intention
from rollguard.store.rollback_states import HELD

logger = logger_of(__name__)


@dataclass(frozen=True, slots=True)
class ActionTaken:
    """The action that was taken on a check.

    Attributes:
        report: the check's result.
        session_status: the session's status afterwards.
        rollback: the present state of the rollback that the check called for; None without one.
        refusal: why the rollback was refused, if another decision came first; else None.
    """

    report: HealthReport
    session_status: str
    rollback: Rollback | None = None
    refusal: str | None = None

    @property
    def rollback_performed(self) -> bool:
        """Return whether the deployment was rolled back."""
        return self.rollback is not None and self.rollback.rollback_successful

    @property
    def refused(self) -> bool:
        """Return whether the decision was not to roll back; False if a rollback failed."""
        return self.refusal is not None or (self.rollback is not None and _decided_not_to(self.rollback))

    @property
    def reason(self) -> str | None:
        """Return why it was rolled back, or why not."""
        if self.rollback is not None:
            return self.rollback.reason if self.rollback_performed else self.rollback.error
        return self.refusal or self.report.judgement.reasons[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-safe result of `DeploymentMonitor.auto_rollback_if_needed`."""
        report = self.report.to_dict()
        return {
            **report,
            "session_status": self.session_status,
            "rollback_performed": self.rollback_performed,
            "rollback_type": self.rollback.rollback_type if self.rollback and self.rollback_performed else None,
            "reason": self.reason,
            "success_rate_drop": report["comparison"]["success_rate_drop"],
            "rollback_result": self._rollback_result(),
        }

    def _rollback_result(self) -> dict[str, Any] | None:
        if self.refusal is not None:
            return {"rollback_successful": False, "refused": True, "error": self.refusal}
        rollback = self.rollback
        if rollback is None:
            return None
        names = ("state", "rollback_id", "rollback_successful", "from_version", "to_version", "error")
        return {"refused": self.refused, **{name: getattr(rollback, name) for name in names}}


class Actions:
    """Acts on checks.

    Args:
        store: where sessions and rollbacks are kept.
        runner: carries rollbacks out.
        rollouts: advances, holds and ends rollouts.
        confirmations: begins those of deployments that the evidence rule would roll back.
    """

    def __init__(
        self, store: ExecutionStore, runner: RollbackRunner, rollouts: RolloutSteps, confirmations: Confirmations
    ) -> None:
        self._store = store
        self._runner = runner
        self._rollouts, self._confirmations = rollouts, confirmations

    def take(self, report: HealthReport, now: datetime) -> ActionTaken:
        """Roll back, complete the session, or leave it as it is.

        Args:
            now: the present moment, at which a rollback happens; other sessions may have come first since the check.
        """
        session, judgement = report.session, report.judgement
        rollback = refusal = None
        beside = report.rollout if report.rollout is not None and report.rollout.open else None
        if report.needs_rollback:
            rollback, refusal = self._roll_back(session, judgement, now, beside)
        if beside is not None and session.active:
            if rollback is None or rollback.state in HELD:
                self._step(beside, report)
        elif report.needs_rollback:
            pass
        elif session.active and judgement.scheduled and report.checked_at >= _end_of(session, judgement):
            self._complete(session, judgement, report.checked_at)
        elif session.active and judgement.wants_confirmation:
            self._confirmations.begin(report, now)
            return ActionTaken(report, session.status)
        else:
            return ActionTaken(report, session.status)
        return ActionTaken(report, self._store.sessions.get(session.session_id).status, rollback, refusal)

    def _step(self, rollout: Rollout, report: HealthReport) -> None:
        """Advance, hold or end a rollout, as of the moment of the check, so that the kept check is what decided."""
        ramp, signs, judgement = rollout.ramp, report.signs, report.judgement
        if signs is None:
            return
        said = judgement.reasons if judgement.arms is None else (reasons.beside(judgement.arms), judgement.reasons[0])
        why = ramp.why(signs) if isinstance(ramp, Confirming) else "; ".join(said[:2])
        self._rollouts.after_check(rollout, signs, why, report.checked_at)

    def _roll_back(
        self, session: Session, judgement: Judgement, now: datetime, beside: Rollout | None
    ) -> tuple[Rollback, None] | tuple[None, str]:
        """Return the rollback, or why there is none. Without a rollback, the session ends with its window."""
        rollback = self._store.rollbacks.held(session.session_id, now)
        if rollback is None:
            try:
                rollback = self._runner.roll_back(self._intention(session, judgement, beside), now)
            except RollbackRefused as refusal:
                logger.info("session %d: %s", session.session_id, refusal)
                return None, str(refusal)
        if beside is None and now >= session.window_end and (_decided_not_to(rollback) or rollback.to_version is None):
            self._complete(session, judgement, now)
        return rollback, None

    def _intention(self, session: Session, judgement: Judgement, beside: Rollout | None = None) -> Intention:
        return Intention(
            tool_name=session.tool_name,
            session_id=session.session_id,
            from_version=session.version_number,
            to_version=None if beside is None else beside.old_version,
            rollout_id=None if beside is None else beside.rollout_id,
            reason=judgement.headline,
            rollback_type=str(judgement.rollback_type),
            requested_by="rollguard",
            success_rate_drop=as_float(judgement.comparison.success_rate_drop),
            regression_severity=str(judgement.comparison.regression_severity),
            mode=session.rules.mode,
            max_per_day=session.rules.max_rollbacks_per_day,
            release_id=session.release_id,
        )

    def _complete(self, session: Session, judgement: Judgement, now: datetime) -> None:
        if judgement.verdict is Verdict.REGRESSED:
            outcome, notes = "regressed", f"regressed and could not be rolled back: {judgement.reasons[0]}"
        elif judgement.verdict is Verdict.HEALTHY:
            outcome, notes = "healthy", f"healthy: {judgement.reasons[0]}"
        elif judgement.verdict is Verdict.EXTERNAL:
            outcome, notes = "unproven", f"unproven, something else failed too: {judgement.alert}"
        else:
            outcome, notes = "unproven", f"unproven: {judgement.warning}"
        self._store.sessions.complete(session.session_id, outcome=outcome, notes=notes, now=now)


def _decided_not_to(rollback: Rollback) -> bool:
    return rollback.state in ("observed", "capped")


def _end_of(session: Session, judgement: Judgement) -> datetime:
    """Return when the session ends; a session with too little data may be extended."""
    return session.last_end if judgement.verdict is Verdict.INSUFFICIENT_DATA else session.window_end
