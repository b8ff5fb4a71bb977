"""Checking sessions: count, judge, look around where it matters, keep what was found and tell people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import InvalidSetting, StoreUnavailable
from rollguard.judge import MOST_OUTCOMES, PATTERN, Judgement, Outcome, Verdict, Window, as_float, judge
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.session import Session
from rollguard.monitor.confounders import surroundings_of
from rollguard.monitor.report import check_row, health_report
from rollguard.store import ExecutionStore

STRAGGLERS = timedelta(minutes=15)  # how long executions from before a deployment may be on their way


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one session found."""

    session: Session
    judgement: Judgement
    report: dict[str, Any]


class Checker:
    """Checks sessions, many of them with a few statements.

    Args:
        store: where executions and sessions are kept.
    """

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store

    def check(self, sessions: Sequence[Session], now: datetime, *, scheduled: bool = True) -> list[Checked]:
        """Check sessions, and keep the checks of those that are active.

        Args:
            scheduled: False for a look between the schedule's; then only what calls for action or news is kept.

        Raises:
            InvalidSetting: the stored rules of a session are invalid; nothing was checked.
        """
        for session in sessions:
            if session.invalid_rules is not None:
                fix = f"correct its row in deployment_monitoring, or: rollguard cancel {session.session_id}"
                raise InvalidSetting(f"session {session.session_id}", f"{session.invalid_rules}; {fix}")
        checked = [
            Checked(session, judgement, _report(session, judgement, until, now))
            for session, judgement, until in self._judged(sessions, now, scheduled)
        ]
        active = [found for found in checked if found.session.active]
        news = self._tell(active, now)
        kept = [
            found for found in active if scheduled or found.judgement.needs_rollback or news[found.session.session_id]
        ]
        self._store.sessions.record_checks(
            [(found.session.session_id, check_row(found.judgement, found.report, now)) for found in kept]
        )
        if scheduled:
            self._keep_baselines(active, now)
        return checked

    def check_each(
        self, sessions: Sequence[Session], now: datetime, *, scheduled: bool = True
    ) -> list[Checked | Exception]:
        """`check`, where a session that cannot be checked does not keep the others from it."""
        try:
            return list(self.check(sessions, now, scheduled=scheduled))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - which session's fault it is shows when fewer are checked at once
            if len(sessions) == 1:
                return [error]
            half = len(sessions) // 2
            halves = (sessions[:half], sessions[half:])
            return [found for some in halves for found in self.check_each(some, now, scheduled=scheduled)]

    # --- judging ---------------------------------------------------------------------------------------------------

    def _judged(
        self, sessions: Sequence[Session], now: datetime, scheduled: bool
    ) -> list[tuple[Session, Judgement, datetime]]:
        ends = [_end(session, now, session.window_end) for session in sessions]
        judged = self._judge_until(sessions, ends, scheduled)
        # A watch that ended without enough data and may go on is judged by all that came since.
        longer = [
            number
            for number, (session, judgement) in enumerate(zip(sessions, judged, strict=True))
            if session.rules.extend_until_sufficient
            and ends[number] == session.window_end
            and judgement.verdict is Verdict.INSUFFICIENT_DATA
        ]
        if longer:
            for number in longer:
                ends[number] = _end(sessions[number], now, sessions[number].last_end)
            again = self._judge_until([sessions[n] for n in longer], [ends[n] for n in longer], scheduled)
            for number, judgement in zip(longer, again, strict=True):
                judged[number] = judgement
        return list(zip(sessions, judged, ends, strict=True))

    def _judge_until(self, sessions: Sequence[Session], ends: Sequence[datetime], scheduled: bool) -> list[Judgement]:
        asked = list(zip(sessions, ends, strict=True))
        windows = self._store.executions.windows_of(asked)
        return [
            self._judge(session, until, baseline, current, scheduled)
            for (session, until), (baseline, current) in zip(asked, windows, strict=True)
        ]

    def _judge(
        self, session: Session, until: datetime, baseline: Window, current: Window, scheduled: bool
    ) -> Judgement:
        return judge(
            baseline,
            current,
            session.rules,
            scheduled=scheduled,
            outcomes=lambda: self._outcomes(session, until),
            surroundings=lambda: surroundings_of(self._store, session, baseline, current, until),
        )

    def _outcomes(self, session: Session, until: datetime) -> list[Outcome]:
        rows = self._store.executions.latest(session, until - PATTERN, until, MOST_OUTCOMES)
        return [Outcome(*row) for row in rows]

    # --- keeping and telling ---------------------------------------------------------------------------------------

    def _keep_baselines(self, active: Sequence[Checked], now: datetime) -> None:
        settled = [found for found in active if _baseline_is_settled(found.session, found.judgement, now)]
        if settled:
            self._store.sessions.keep_baselines(
                {found.session.session_id: found.judgement.comparison.baseline for found in settled}
            )

    def _tell(self, active: Sequence[Checked], now: datetime) -> dict[int, bool]:
        """Tell of what is not acted upon once, when it begins, and not at every check while it lasts."""
        news = dict.fromkeys((found.session.session_id for found in active), False)
        for found in active:
            kinds = _to_tell(found.judgement)
            if not kinds:
                continue
            latest = self._store.sessions.checks(found.session.session_id, limit=1)
            before = _told_before(latest[0]) if latest else frozenset()
            for kind in kinds - before:
                self._store.outbox.add(_event(kind, found.session, found.judgement, now).to_dict(), now)
                news[found.session.session_id] = True
        return news


def _end(session: Session, now: datetime, last: datetime) -> datetime:
    return max(session.deployment_time, min(now, last, session.completed_at or now))


def _report(session: Session, judgement: Judgement, until: datetime, now: datetime) -> dict[str, Any]:
    report = health_report(session, judgement, until, now)
    report["needs_rollback"] = judgement.needs_rollback and session.active
    return report


def _baseline_is_settled(session: Session, judgement: Judgement, now: datetime) -> bool:
    """Whether the baseline can be kept: it is enough, and what was on its way at the deployment has arrived."""
    enough = judgement.comparison.baseline.total >= session.rules.min_executions
    fixed = session.rules.baseline == "before" or session.rules.decision == "evidence"
    return session.baseline is None and enough and fixed and now >= session.deployment_time + STRAGGLERS


def _to_tell(judgement: Judgement) -> frozenset[EventKind]:
    kinds = {EventKind.SLOWDOWN} if judgement.comparison.performance_degradation else set()
    if judgement.verdict is Verdict.EXTERNAL:
        kinds.add(EventKind.EXTERNAL)
    elif judgement.alert is not None:
        kinds.add(EventKind.UNPROVEN_DROP)
    return frozenset(kinds)


def _told_before(check: dict[str, Any]) -> frozenset[EventKind]:
    kinds = {EventKind.SLOWDOWN} if check["performance_degradation"] else set()
    if check["verdict"] == Verdict.EXTERNAL:
        kinds.add(EventKind.EXTERNAL)
    elif check["verdict"] == Verdict.INSUFFICIENT_DATA and check["regression_detected"]:
        kinds.add(EventKind.UNPROVEN_DROP)
    return frozenset(kinds)


_TITLES = {
    EventKind.SLOWDOWN: "version {version} is much slower than before",
    EventKind.EXTERNAL: "version {version} fails more than before, and so does something else: no rollback for now",
    EventKind.UNPROVEN_DROP: "version {version} may fail more than before: no evidence yet, so no rollback",
}


def _event(kind: EventKind, session: Session, judgement: Judgement, now: datetime) -> Event:
    comparison = judgement.comparison
    title = _TITLES[kind].format(version=session.version_number)
    details = {
        "success_rate_drop": as_float(comparison.success_rate_drop),
        "duration_change": as_float(comparison.duration_change),
    }
    return Event(
        kind,
        Level.WARNING,
        session.tool_name,
        session.session_id,
        f"{session.tool_name}: {title}",
        judgement.reasons,
        now.isoformat(),
        details,
    )
