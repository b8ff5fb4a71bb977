"""Check sessions: count executions, judge them, find confounders if needed, and record the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollguard.errors import InvalidSetting, StoreUnavailable
from rollguard.judge import MOST_OUTCOMES, PATTERN, Hangs, Judgement, Outcome, Verdict, Window, as_float, judge
from rollguard.model.check import NewCheck, reported_by
from rollguard.model.event import Event, EventKind, Level
from rollguard.model.own_spans import span
from rollguard.model.rollout import Rollout
from rollguard.model.session import Session
from rollguard.monitor.confirmations import Confirmations
from rollguard.monitor.confounders import confounders_of
from rollguard.monitor.report import HealthReport, in_flight_of
from rollguard.monitor.silences import Silences
from rollguard.record import Recorder
from rollguard.record.in_flight import PUBLISHED_AFTER
from rollguard.store import ExecutionStore

KNOWN_AFTER = timedelta(seconds=PUBLISHED_AFTER + 1)
"""How long after its draw a unit is counted at the earliest: by then the store knows its end, or that it runs."""

_Judged = tuple[Judgement, Window]
"""A judgement, and the baseline as it was counted, before calls that hung were added."""


class Checker:
    """Checks many sessions with a few statements.

    Args:
        store: where executions and sessions are kept.
        recorder: holds executions of this process; a check flushes it first, so that it counts them.
        confirmations: says where the confirmation of a deployment stands.
    """

    def __init__(self, store: ExecutionStore, recorder: Recorder, confirmations: Confirmations) -> None:
        self._confirmations = confirmations
        self._store = store
        self._recorder = recorder
        self._silences = Silences(store)

    def check(self, sessions: Sequence[Session], now: datetime, *, scheduled: bool = True) -> list[HealthReport]:
        """Check sessions, and record the checks of the active ones.

        Args:
            scheduled: False for a check between two scheduled ones; it is recorded only if it calls for a rollback,
                changes the stage or the state of a rollout, or has something new to report.

        Raises:
            InvalidSetting: the stored rules of a session are invalid; nothing was checked.
        """
        for session in sessions:
            if session.invalid_rules is not None:
                fix = f"correct its row in deployment_monitoring, or: rollguard cancel {session.session_id}"
                raise InvalidSetting(f"session {session.session_id}", f"{session.invalid_rules}; {fix}")
        with span("check", sessions=len(sessions), scheduled=scheduled) as note:
            reports = self._checked(sessions, now, scheduled=scheduled)
            note(**{f"verdict.{name}": number for name, number in Counter(map(_verdict, reports)).items()})
            if len(reports) == 1:
                note(tool_name=reports[0].session.tool_name, session_id=reports[0].session.session_id)
            return reports

    def _checked(self, sessions: Sequence[Session], now: datetime, *, scheduled: bool) -> list[HealthReport]:
        self._recorder.flush(wait=False)
        self._store.executions.refresh_rollups()
        known = self._store.baselines.of(sessions, now)
        beside = self._store.rollouts.of_sessions([session.session_id for session in sessions])
        in_flight = self._store.in_flight.all()
        silent = self._silences.of(known, now) if scheduled else {}
        reports = [
            HealthReport(
                *(session, judgement, until, now, counted),
                in_flight_of(session, in_flight, until),
                silent.get(session.session_id),
                beside.get(session.session_id),
            )
            for session, (judgement, counted), until in self._judged(known, now, scheduled, beside)
        ]
        active = [report for report in reports if report.session.active]
        self._store.sessions.record_checks(
            [self._new_check(report, scheduled=scheduled) for report in active],
            baselines=_settled_baselines(active, now) if scheduled else {},
            now=now,
            left_out=[one for one, before in zip(known, sessions, strict=True) if one is not before and one.active],
        )
        return reports

    def check_each(
        self, sessions: Sequence[Session], now: datetime, *, scheduled: bool = True
    ) -> list[HealthReport | Exception]:
        """Check sessions like `check`, but return an exception for each session that cannot be checked."""
        try:
            return list(self.check(sessions, now, scheduled=scheduled))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - halving the batch finds the session that causes it
            if len(sessions) == 1:
                return [error]
            half = len(sessions) // 2
            halves = (sessions[:half], sessions[half:])
            return [found for some in halves for found in self.check_each(some, now, scheduled=scheduled)]

    def _judged(
        self, sessions: Sequence[Session], now: datetime, scheduled: bool, beside: dict[int, Rollout]
    ) -> list[tuple[Session, _Judged, datetime]]:
        ends = [_end(session, now, session.window_end) for session in sessions]
        judged = self._judge_until(sessions, ends, scheduled, beside, now)
        # A session that may be extended for too little data is judged by all executions since its deployment.
        longer = [
            number
            for number, (session, (judgement, _counted)) in enumerate(zip(sessions, judged, strict=True))
            if session.rules.extend_until_sufficient
            and ends[number] == session.window_end
            and judgement.verdict is Verdict.INSUFFICIENT_DATA
        ]
        if longer:
            for number in longer:
                ends[number] = _end(sessions[number], now, sessions[number].last_end)
            again = self._judge_until([sessions[n] for n in longer], [ends[n] for n in longer], scheduled, beside, now)
            for number, result in zip(longer, again, strict=True):
                judged[number] = result
        return list(zip(sessions, judged, ends, strict=True))

    def _judge_until(
        self,
        sessions: Sequence[Session],
        ends: Sequence[datetime],
        scheduled: bool,
        beside: dict[int, Rollout],
        now: datetime,
    ) -> list[_Judged]:
        """Judge sessions, and put into `beside` the rollouts with the units that are counted now."""
        asked = list(zip(sessions, ends, strict=True))
        windows = self._store.executions.windows_of(asked)
        found = self._store.definitions.hangs_in(sessions, windows)
        for session, (baseline, _current), hangs in zip(sessions, windows, found, strict=True):
            rollout = beside.get(session.session_id)
            if rollout is not None and rollout.open:
                beside[session.session_id] = self._counted(rollout, session, baseline, hangs, now)
        return [
            (self._judge(session, until, baseline, current, hangs, scheduled, beside, now), baseline)
            for (session, until), (baseline, current), hangs in zip(asked, windows, found, strict=True)
        ]

    def _counted(
        self, rollout: Rollout, session: Session, baseline: Window, hangs: Hangs | None, now: datetime
    ) -> Rollout:
        """Count the units of both versions that are final by now."""
        rules = session.rules
        if hangs is not None:  # both versions are called by the limits that are in force, whatever the baseline's were
            hangs = replace(hangs, counted=True)

        def counts(error_type: str | None, duration_ms: float | None) -> bool:
            return error_type not in rules.caller_errors and (hangs is None or hangs.counts(error_type, duration_ms))

        return self._store.rollouts.counted(
            rollout,
            baseline=(baseline.total, baseline.failures),
            until=now - max(KNOWN_AFTER, timedelta(seconds=rules.rollout_amend_seconds)),
            now=now,
            limit=timedelta(seconds=rules.rollout_unit_seconds),
            counts=counts,
        )

    def _judge(
        self,
        session: Session,
        until: datetime,
        baseline: Window,
        current: Window,
        hangs: Hangs | None,
        scheduled: bool,
        beside: dict[int, Rollout],
        now: datetime,
    ) -> Judgement:
        rollout = beside.get(session.session_id)
        if hangs is not None:
            baseline, current = hangs.add_to(baseline, current)
        return judge(
            baseline,
            current,
            session.rules,
            scheduled=scheduled,
            left_out=session.left_out,
            earlier=session.earlier_versions,
            outcomes=lambda: self._outcomes(session, until, hangs),
            confounders=lambda: confounders_of(self._store, session, baseline, current, until),
            hangs=hangs,
            arms=None if rollout is None else rollout.arms,
            confirmation=lambda: self._confirmations.stand(session, rollout, now),
        )

    def _outcomes(self, session: Session, until: datetime, hangs: Hangs | None) -> list[Outcome]:
        rows = self._store.executions.latest(session, until - PATTERN, until, MOST_OUTCOMES, hangs=hangs)
        return [Outcome(*row) for row in rows]

    def _new_check(self, report: HealthReport, *, scheduled: bool) -> NewCheck:
        columns = report.to_row()
        events = {kind: _event(kind, report) for kind in reported_by(columns)}
        required = scheduled or report.moves_rollout or report.judgement.wants_confirmation or self._rolls_back(report)
        return NewCheck(report.session.session_id, columns, events, required=required)

    def _rolls_back(self, report: HealthReport) -> bool:
        """Return whether a check makes a rollback be tried: one that is held was recorded with the check before."""
        held = self._store.rollbacks.held
        return report.needs_rollback and held(report.session.session_id, report.checked_at) is None


def _verdict(report: HealthReport) -> str:
    return str(report.judgement.verdict)


def _settled_baselines(active: Sequence[HealthReport], now: datetime) -> dict[int, Window]:
    return {
        report.session.session_id: report.counted_baseline
        for report in active
        if _baseline_is_settled(report.session, report.judgement, now)
    }


def _baseline_is_settled(session: Session, judgement: Judgement, now: datetime) -> bool:
    """Return whether the baseline can be kept: it has enough executions, and late ones have arrived."""
    enough = judgement.comparison.baseline.total >= session.rules.min_executions
    fixed = session.rules.baseline == "before" or session.rules.decision == "evidence"
    return session.baseline is None and enough and fixed and now >= session.settles_at


_TITLES = {
    EventKind.SLOWDOWN: "version {version} is much slower than before",
    EventKind.EXTERNAL: "version {version} fails more than before, and so does something else: no rollback for now",
    EventKind.CREEPING: "version {version} is worse than an earlier one, to which each version since added a little",
    EventKind.SILENT: "nobody calls it any more, since version {version} or before",
    EventKind.UNPROVEN_DROP: "version {version} may fail more than before: no evidence yet, so no rollback",
}


def _event(kind: EventKind, report: HealthReport) -> Event:
    session, comparison = report.session, report.judgement.comparison
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
        _reasons(kind, report),
        report.checked_at.isoformat(),
        details,
    )


def _reasons(kind: EventKind, report: HealthReport) -> tuple[str, ...]:
    """Return the reasons of an event; what is not about the baseline comes first in its own."""
    reasons, creeping = report.judgement.reasons, report.judgement.creeping
    if kind is EventKind.SILENT and report.silence is not None:
        return (report.silence.sentence,)
    if kind is EventKind.CREEPING and creeping is not None:
        return tuple(dict.fromkeys((creeping.sentence, *reasons)))
    return reasons


def _end(session: Session, now: datetime, last: datetime) -> datetime:
    return max(session.deployment_time, min(now, last, session.completed_at or now))
