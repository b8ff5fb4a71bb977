"""Verify whether rollbacks helped: compare the restored version's calls with the baseline of the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from rollguard.judge import Judgement, judge
from rollguard.model.rollback import Unverified
from rollguard.rollback.events import verified_event
from rollguard.store import ExecutionStore


def verify_all(store: ExecutionStore, now: datetime) -> list[tuple[int, bool | None]]:
    """Verify every rollback that is not verified yet, with a few statements for all of them.

    `min_executions` calls of the restored version give an answer. If they are a regression against the baseline, by
    the session's own threshold, the version that was rolled back was not the cause. Otherwise the tool recovered.
    People are notified of either; nothing else is done. The rollback stays unproven if the session's window, counted
    from the rollback, ends with fewer calls, or if another version goes live.

    Returns:
        (rollback id, whether the restored version recovered) of each rollback that this call ended; None if unproven.
    """
    waiting = store.rollbacks.unverified()
    known = store.baselines.of([unverified.session for unverified in waiting], now)
    waiting = [replace(unverified, session=session) for unverified, session in zip(waiting, known, strict=True)]
    ends = [min(now, unverified.until) for unverified in waiting]
    windows = store.executions.windows_after(list(zip(waiting, ends, strict=True)))
    found = store.definitions.hangs_in([unverified.session for unverified in waiting], windows)
    ended: list[tuple[int, bool | None]] = []
    for unverified, counted, hangs in zip(waiting, windows, found, strict=True):
        baseline, restored = counted if hangs is None else hangs.add_to(*counted)
        judgement = judge(
            baseline, restored, unverified.session.rules, left_out=unverified.session.left_out, hangs=hangs
        )
        recovered, note = _outcome(unverified, judgement, now)
        if note is not None and _record(store, unverified, recovered, note, now):
            ended.append((unverified.rollback.rollback_id, recovered))
    return ended


def _outcome(unverified: Unverified, judgement: Judgement, now: datetime) -> tuple[bool | None, str | None]:
    """Return (whether the restored version recovered, the note to record); no note while more calls may come."""
    comparison = judgement.comparison
    if unverified.session.invalid_rules is not None:
        return None, f"unproven: the session's stored rules are invalid: {unverified.session.invalid_rules}"
    if comparison.has_sufficient_data:
        reasons = _since_rollback(judgement.reasons)
        if comparison.regression_detected:
            return False, f"not the cause: the restored version fails as well; {reasons}"
        return True, f"recovered: {reasons}"
    if now < unverified.until:
        return None, None
    replaced = unverified.live_until is not None and unverified.until == unverified.live_until
    why = "another version went live" if replaced else "the window is over"
    return None, f"unproven: {why}, and there was too little to compare; {_since_rollback(judgement.reasons)}"


def _since_rollback(reasons: Sequence[str]) -> str:
    return "; ".join(reason.replace("since the deployment", "since the rollback") for reason in reasons)


def _record(store: ExecutionStore, unverified: Unverified, recovered: bool | None, note: str, now: datetime) -> bool:
    event = None if recovered is None else verified_event(unverified.rollback, note, now, recovered=recovered)
    return store.rollbacks.verify(unverified.rollback.rollback_id, success=recovered, note=note, event=event, now=now)
