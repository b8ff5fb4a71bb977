"""What the page of a session shows: the decision in plain words, what it is based on, and the time line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from rollguard.errors import InvalidInput
from rollguard.judge import ArmsFound, Judgement, Rules, executions_needed, reasons, replay
from rollguard.model.formatting import everyday
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session
from rollguard.monitor.explain import explain
from rollguard.service.pages.chart import Band, Mark, Point
from rollguard.store import ExecutionStore

_MOST_CHECKS = 200
_LOOKS = ("regressed", "healthy", "rollback", "insufficient_data", "external", "error")


class Entry(NamedTuple):
    """An entry of the time line; `look` is what kind of thing happened."""

    at: datetime
    what: str
    look: str


@dataclass(frozen=True, slots=True)
class SessionView:
    """The page of a session.

    Attributes:
        explained: as `rollguard explain` says it, without deciding each check again.
        judgement: the decision of the check that decided, made again from its record; None if there is none.
        needed: how many more calls a verdict needs at the present rates; 0 if there is one, None if that is unknown.
        rollout: when both versions served, the latest time; None if they never did.
        beside: what both versions did then, and the evidence; None before the first check.
        rates: the success rate since the deployment, as each of the latest checks found it.
        checks: the latest checks, newest first.
        changed_rules: the rules that are not the defaults.
    """

    session: Session
    release: str | None
    explained: dict[str, Any]
    judgement: Judgement | None
    needed: int | None
    rates: Sequence[Point]
    checks: Sequence[dict[str, Any]]
    rollback: Rollback | None
    rollout: Rollout | None
    beside: ArmsFound | None
    changed_rules: dict[str, Any]

    @property
    def why(self) -> list[str]:
        """Return the decision in plain words."""
        return everyday([*self.explained["why"], *self.explained["baseline_notes"]])

    @property
    def details(self) -> list[str]:
        """Return what those words leave out: the figures of the statistics."""
        decision = self.explained["decision"]
        return [reason for reason in (decision or {}).get("reasons") or () if reason.startswith("evidence ")]

    @property
    def beside_says(self) -> str:
        """Return what both versions of a rollout did, as a sentence."""
        return "no call of either version is counted yet" if self.beside is None else reasons.beside(self.beside)

    @property
    def timeline(self) -> list[Entry]:
        """Return what happened, the oldest first."""
        return [
            Entry(
                datetime.fromisoformat(one["at"]),
                everyday([one["what"]])[0].replace("insufficient_data:", "too few calls:"),
                next((look for look in _LOOKS if one["what"].startswith(look)), "other"),
            )
            for one in self.explained["timeline"]
        ]

    @property
    def threshold(self) -> float:
        """Return the success rate that is a regression; 1 without a baseline."""
        low, high = self._before
        return 1.0 if high is None or low is None else low

    @property
    def marks(self) -> list[Mark]:
        """Return the rollback, if there was one."""
        done = self.rollback
        if done is None:
            return []
        label = f"back to {done.to_version}" if done.rollback_successful else done.state
        return [Mark(done.rollback_time, label, "rollback")]

    def bands(self, end: datetime) -> list[Band]:
        """Return the rates that are as before."""
        low, high = self._before
        return [] if high is None or low is None else [Band(self.session.deployment_time, end, low, high)]

    @property
    def _before(self) -> tuple[float | None, float | None]:
        rate = None if self.judgement is None else self.judgement.comparison.baseline.success_rate
        return (None, None) if rate is None else (max(0.0, rate - self.session.rules.regression_threshold), rate)

    @property
    def past(self) -> float:
        """Return how much of the window is over, as a share."""
        session = self.session
        return (self._until - session.deployment_time) / (session.window_end - session.deployment_time)

    @property
    def _until(self) -> datetime:
        latest = self.checks[0]["checked_at"] if self.checks else self.session.deployment_time
        return self.session.completed_at or latest


def session_view(store: ExecutionStore, session_id: int) -> SessionView:
    """Read the page of a session.

    Raises:
        UnknownSession: there is none with that number.
    """
    session = store.sessions.get(session_id)
    explained = explain(store, session_id, replayed=False)
    checks = store.sessions.checks(session_id, limit=_MOST_CHECKS, records=False)
    judgement = _judgement(explained["decision"])
    rollout = store.rollouts.of_sessions([session_id]).get(session_id)
    defaults, rules = Rules().to_dict(), explained["rules"]
    return SessionView(
        session=session,
        release=explained["release"],
        explained=explained,
        judgement=judgement,
        needed=None if judgement is None else executions_needed(judgement),
        rates=[_point(check) for check in reversed(checks)],
        checks=checks,
        rollback=store.rollbacks.of_session(session_id),
        rollout=rollout,
        beside=None if rollout is None else _beside(session, rollout),
        changed_rules={name: value for name, value in rules.items() if value != defaults[name]},
    )


def _judgement(decision: dict[str, Any] | None) -> Judgement | None:
    record = None if decision is None else decision["record"]
    if not isinstance(record, dict):
        return None
    try:
        return replay(record)
    except InvalidInput:  # of another version of the rule; `rollguard explain` says so, and the page shows its words
        return None


def _beside(session: Session, rollout: Rollout) -> ArmsFound | None:
    if rollout.arms is None:
        return None
    return ArmsFound.of(rollout.arms, session.rules.alpha_of_each(rollout=not rollout.arms.confirms))


def _point(check: dict[str, Any]) -> Point:
    rate, calls = check["current_success_rate"], check["current_total_executions"] or 0
    failures = 0 if rate is None else round(calls * (1 - rate))
    says = f"{check['checked_at']:%b %d %H:%M:%S} UTC: {check['verdict']}, {calls:,} calls, {failures:,} failed"
    return Point(check["checked_at"], rate, says, calls, failures)
