"""Whether a rollback helped: the restored version's calls since, against the baseline of the session rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rollguard.judge import Judgement, judge
from rollguard.model.rollback import Unverified
from rollguard.rollback.events import verified_event
from rollguard.store import ExecutionStore


def verify_all(store: ExecutionStore, now: datetime) -> list[tuple[int, bool | None]]:
    """Verify every rollback that is not verified yet, with a few statements for all of them together.

    With `min_executions` calls of the restored version there is an answer: it recovered, unless these calls are a
    regression against the baseline by the session's own threshold; then the version that was rolled back was not the
    cause, and people are told. Nothing more is done. Where the session's window, counted from the rollback, ends with
    fewer calls, or another version goes live, it stays unproven.

    Returns:
        The id of each rollback that there is an answer for now, with it; None for one that stays unproven.
    """
    waiting = store.rollbacks.unverified()
    ends = [min(now, unverified.until) for unverified in waiting]
    windows = store.executions.windows_after(list(zip(waiting, ends, strict=True)))
    answered: list[tuple[int, bool | None]] = []
    for unverified, (baseline, restored) in zip(waiting, windows, strict=True):
        judgement = judge(baseline, restored, unverified.session.rules)
        success, note = _answer(unverified, judgement, now)
        if note is not None and _say(store, unverified, success, note, now):
            answered.append((unverified.rollback.rollback_id, success))
    return answered


def _answer(unverified: Unverified, judgement: Judgement, now: datetime) -> tuple[bool | None, str | None]:
    """(recovered?, what to note); the note is None while there is still something to wait for."""
    comparison = judgement.comparison
    if unverified.session.invalid_rules is not None:
        return None, f"unproven: the session's stored rules are invalid: {unverified.session.invalid_rules}"
    if comparison.has_sufficient_data:
        found = _told(judgement.reasons)
        if comparison.regression_detected:
            return False, f"not the cause: the restored version fails as well; {found}"
        return True, f"recovered: {found}"
    if now < unverified.until:
        return None, None
    replaced = unverified.live_until is not None and unverified.until == unverified.live_until
    why = "another version went live" if replaced else "the window is over"
    return None, f"unproven: {why}, and there was too little to compare; {_told(judgement.reasons)}"


def _told(reasons: Sequence[str]) -> str:
    return "; ".join(reason.replace("since the deployment", "since the rollback") for reason in reasons)


def _say(store: ExecutionStore, unverified: Unverified, success: bool | None, note: str, now: datetime) -> bool:
    event = None if success is None else verified_event(unverified.rollback, note, now, recovered=success)
    return store.rollbacks.verify(unverified.rollback.rollback_id, success=success, note=note, event=event, now=now)
