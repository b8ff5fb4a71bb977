"""Confirm what the evidence rule found: say where a confirmation stands, and begin one.

`rollguard.model.confirming` says how it goes on, `rollguard.judge.confirmation` what follows from where it stands.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rollguard.judge import Confirmation, Stand
from rollguard.model.confirming import EXTERNAL
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.ramp import State
from rollguard.model.rollout import CONFIRM, Rollout
from rollguard.model.session import Session
from rollguard.monitor.report import HealthReport
from rollguard.registry import ToolRegistry
from rollguard.store import ExecutionStore

_SHARES = "version {old} serves half of the calls beside version {new} until their comparison decides"


class Confirmations:
    """Confirmations of deployments.

    Args:
        store: keeps them.
        registry: serves both versions, and knows whether they can serve at once.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store, self._registry = store, registry

    def stand(self, session: Session, latest: Rollout | None, now: datetime) -> Confirmation:
        """Return where the confirmation of a deployment stands, which the evidence rule would roll back.

        Args:
            latest: the latest rollout of its session, which is not open.
        """
        latest = latest if latest is not None and latest.kind == CONFIRM else None
        if latest is not None and latest.ramp.state is State.FAILED:
            return Confirmation(Stand.IMPOSSIBLE, f"it was not confirmed: {latest.ended_why}")
        if latest is not None:
            held = _held(session, latest, now)
            if held is not None:
                return held
        old, why = self._before(session)
        if old is None:
            return Confirmation(Stand.IMPOSSIBLE, f"it cannot be confirmed beside the version before: {why}")
        return Confirmation(Stand.POSSIBLE, f"to be confirmed: {_SHARES.format(old=old, new=session.version_number)}")

    def begin(self, report: HealthReport, now: datetime) -> Rollout | None:
        """Let the version before serve beside the live one; return None if another decision came first."""
        session, judgement = report.session, report.judgement
        old, _why = self._before(session)
        if old is None:
            return None
        reason = judgement.headline
        title = f"version {session.version_number} fails more than before: {_SHARES}"
        title = title.format(old=old, new=session.version_number)
        event = Event(
            EventKind.CONFIRMING,
            Level.WARNING,
            session.tool_name,
            session.session_id,
            f"{session.tool_name}: {title}",
            judgement.reasons,
            now.isoformat(),
            {"old_version": old, "new_version": session.version_number},
        )
        begun = self._store.rollouts.begin_confirmation(session, old, why=reason, now=now, event=event.to_dict())
        self._registry.rolling.bring()
        return begun

    def _before(self, session: Session) -> tuple[int | None, str]:
        """Return the version that can serve beside the live one; None, and why, if none can."""
        name, new = session.tool_name, session.version_number
        if session.rules.mode == "observe":
            return None, 'mode = "observe" changes nothing'
        if new is None:
            return None, "its versions are not known"
        if session.release_id is not None and len(self._store.releases.tools(session.release_id)) > 1:
            return None, "it went live with the other tools of its release"
        old = self._store.versions.previous_good(name)
        if old is None:
            return None, "there is no earlier good version"
        why = self._registry.rolling.cannot_share(name, old, new)
        return (old, "") if why is None else (None, why)


def _held(session: Session, latest: Rollout, now: datetime) -> Confirmation | None:
    """Return what the latest confirmation leaves to do; None if another one may begin."""
    rules, ended = session.rules, latest.ramp.ended_at or now
    why = latest.ended_why or str(latest.ramp.state)
    again = ended + timedelta(minutes=rules.confirm_minutes)
    if why == EXTERNAL:
        stand, follows = Stand.EXTERNAL, "so nothing is rolled back"
    elif latest.ramp.state is State.UNPROVEN and rules.confirm_at_bound == "roll_back":
        return Confirmation(
            Stand.EXHAUSTED, f"{why}; the evidence before and after rolls back, which an outage can make as well"
        )
    else:
        stand, follows = Stand.HELD, "so the rollback is held"
    if now >= again:
        return None
    return Confirmation(
        stand, f"{why}, {follows}; both serve again from {again:%Y-%m-%d %H:%M} UTC on if it still fails"
    )
