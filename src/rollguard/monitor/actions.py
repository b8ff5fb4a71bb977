"""What follows from a check: a rollback, the end of the watch, or nothing yet."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from rollguard.errors import RollbackRefused
from rollguard.judge import Judgement, Verdict, as_float
from rollguard.model.rollback import Rollback
from rollguard.model.session import Session
from rollguard.monitor.checker import Checked
from rollguard.rollback import RollbackRunner, investigation_of
from rollguard.store import ExecutionStore, Intention

logger = logging.getLogger(__name__)


class Answering:
    """Answers checks.

    Args:
        store: where sessions and rollbacks are kept.
        runner: carries rollbacks out.
    """

    def __init__(self, store: ExecutionStore, runner: RollbackRunner) -> None:
        self._store = store
        self._runner = runner

    def answer(self, checked: Checked, judged_at: datetime, now: datetime) -> dict[str, Any]:
        """Roll back, complete the session, or leave it be.

        Args:
            judged_at: the moment of the check.
            now: the present moment, later where others were answered first: a rollback happens then.

        Returns:
            The report of the check and what was done; see `DeploymentMonitor.auto_rollback_if_needed`.
        """
        session, judgement, report = checked.session, checked.judgement, checked.report
        result: dict[str, Any] = {
            **report,
            "rollback_performed": False,
            "rollback_type": None,
            "reason": judgement.reasons[0],
            "success_rate_drop": report["comparison"]["success_rate_drop"],
            "rollback_result": None,
        }
        if report["needs_rollback"]:
            result.update(self._answer_regression(session, judgement, now))
        elif session.active and judgement.scheduled and judged_at >= _end_of_watch(session, judgement):
            self._complete(session, judgement, judged_at)
        else:
            return result
        result["session_status"] = self._store.sessions.get(session.session_id).status
        return result

    def _answer_regression(self, session: Session, judgement: Judgement, now: datetime) -> dict[str, Any]:
        held = self._store.rollbacks.held(session.session_id, now)
        if held is not None:
            return self._answer_held(session, held, judgement, now)
        intention = Intention(
            tool_name=session.tool_name,
            session_id=session.session_id,
            from_version=session.version_number,
            to_version=None,
            reason=judgement.headline,
            rollback_type=str(judgement.rollback_type),
            requested_by="rollguard",
            success_rate_drop=as_float(judgement.comparison.success_rate_drop),
            regression_severity=str(judgement.comparison.regression_severity),
            investigation=investigation_of(self._store, session, min(now, session.window_end)),
            mode=session.rules.mode,
            max_per_day=session.rules.max_rollbacks_per_day,
        )
        try:
            rollback = self._runner.roll_back(intention, now)
        except RollbackRefused as refusal:
            logger.info("session %d: %s", session.session_id, refusal)
            refused = {"rollback_successful": False, "refused": True, "error": str(refusal)}
            return {"reason": str(refusal), "rollback_result": refused}
        return self._answer_held(session, rollback, judgement, now)

    def _answer_held(self, session: Session, rollback: Rollback, judgement: Judgement, now: datetime) -> dict[str, Any]:
        """What to answer of a rollback; where none will be made, the session ends with its window."""
        decided_not_to = rollback.state in ("observed", "capped")
        if now >= session.window_end and (decided_not_to or rollback.to_version is None):
            self._complete(session, judgement, now)
        return {
            "rollback_performed": rollback.rollback_successful,
            "rollback_type": rollback.rollback_type if rollback.rollback_successful else None,
            "reason": rollback.reason if rollback.rollback_successful else rollback.error,
            "rollback_result": {
                "refused": decided_not_to,
                "state": rollback.state,
                "rollback_id": rollback.rollback_id,
                "rollback_successful": rollback.rollback_successful,
                "from_version": rollback.from_version,
                "to_version": rollback.to_version,
                "error": rollback.error,
            },
        }

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


def _end_of_watch(session: Session, judgement: Judgement) -> datetime:
    """When the watch is over: later, where it may be extended for want of data."""
    return session.last_end if judgement.verdict is Verdict.INSUFFICIENT_DATA else session.window_end
