"""The stage that learns what became of a deployed repair."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollguard.loop.improvement.work import AttemptStage
from rollguard.model.attempt import END, ROLL_BACK, SUCCEED, VOID, Attempt, State, Why
from rollguard.model.ramp import State as RampState
from rollguard.model.session import Session


class WatchStage(AttemptStage):
    """Ends an attempt when its session ends. One that was rolled back failed, and that is remembered."""

    name = "watch"
    takes = (State.WATCHING,)
    follows = frozenset({"health", "arrivals"})

    def work(self, attempt: Attempt, now: datetime | None) -> Mapping[str, int]:
        """Look at the session of one attempt."""
        if attempt.session_id is None:
            self.move(attempt, self.step(VOID, "nobody monitors it", why=Why.BASE_CHANGED), now)
            return {}
        session = self.store.sessions.get(attempt.session_id)
        if session.active:
            return self.leave(attempt)
        if session.status == "completed" and session.outcome == "healthy":
            self.move(attempt, self.step(SUCCEED, session.notes, why=Why.HEALTHY), now)
            return {}
        if session.status == "completed" and session.outcome == "unproven":
            self.move(attempt, self.step(END, session.notes, why=Why.UNPROVEN), now)
            return {}
        if session.status in ("superseded", "cancelled") and not self._could_not_serve(session):
            self.move(attempt, self.step(VOID, session.notes, why=Why.BASE_CHANGED), now)
            return {}
        return self._failed(attempt, session, now)

    def _could_not_serve(self, session: Session) -> bool:
        """Return whether its rollout ended because no process could load it."""
        rollout = self.store.rollouts.of_sessions([session.session_id]).get(session.session_id)
        return rollout is not None and rollout.ramp.state is RampState.FAILED

    def _failed(self, attempt: Attempt, session: Session, now: datetime | None) -> Mapping[str, int]:
        rolled_back = self.store.rollbacks.of_session(session.session_id)
        said = rolled_back.reason if rolled_back is not None else session.notes or "it regressed"
        why = Why.ROLLED_BACK if session.status == "rolled_back" else Why.REGRESSED
        entry = {
            "author": attempt.author,
            "sha256": attempt.candidate_sha256,
            "reasons": [
                f"it was deployed as version {attempt.version_number}, and {why.value.replace('_', ' ')}: {said}"
            ],
        }
        values = {"reasons": [*map(dict, attempt.reasons), entry], **self.cooling(attempt, now)}
        self.move(attempt, self.step(ROLL_BACK, said, why=why, values=values), now)
        return {"improvements_failed": 1}
