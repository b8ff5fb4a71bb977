"""Explain why a deployment was, or was not, rolled back: its checks, decided again from their records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.judge import differences, replay
from rollguard.model.rollback import Rollback
from rollguard.model.rollout import CANARY, Rollout
from rollguard.model.session import Session
from rollguard.store import ExecutionStore

_MOST_CHECKS = 10_000


def explain(store: ExecutionStore, session_id: int, *, replayed: bool = True) -> dict[str, Any]:
    """Explain one session. Every stored check is decided again from its record.

    Args:
        replayed: False decides none again, and reads only the record of the check that decided, which is quicker.

    Returns:
        A JSON-safe mapping: `session`, `rules`, `baseline_notes`, `left_out` (what its baseline does not count), `why`
        (sentences), `decision` (the check that decided, or the latest one), `checks` (`kept`, `made_again`,
        `differing`: those whose record now leads to another decision, each with its `differences`, and `not_replayed`:
        those whose record cannot be replayed, each with its `problem`), `rollouts` (when two versions served, and
        what each of them did), `rollback` and `timeline`.

    Raises:
        UnknownSession: there is none with that id.
    """
    session = store.sessions.get(session_id)
    checks = store.sessions.checks(session_id, limit=_MOST_CHECKS, records=replayed)[::-1]
    rollback = store.rollbacks.of_session(session_id)
    rollouts = store.rollouts.of_session(session_id)
    deciding = next((check for check in checks if check["needs_rollback"]), checks[-1] if checks else None)
    if deciding is not None and not replayed:
        deciding = store.sessions.check(deciding["check_id"])
    made_again, differing, not_replayed = _made_again(checks if replayed else [])
    return {
        "session": _session(session),
        "release": None if session.release_id is None else store.releases.get(session.release_id).label,
        "rules": session.rules.to_dict(),
        "baseline_notes": list(session.baseline_notes),
        "left_out": None if session.left_out is None else session.left_out.to_dict(),
        "why": _distinct(_why(session, deciding, rollback)),
        "decision": None if deciding is None else _decision(deciding),
        "checks": {
            "kept": len(checks),
            "made_again": made_again,
            "differing": differing,
            "not_replayed": not_replayed,
        },
        "rollouts": [_rollout(rollout) for rollout in rollouts],
        "rollback": None if rollback is None else _rollback(rollback),
        "timeline": [
            {"at": at.isoformat(), "what": what}
            for at, what in sorted(_timeline(session, checks, rollback, rollouts), key=lambda entry: entry[0])
        ],
    }


def _made_again(checks: list[dict[str, Any]]) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]]]:
    count, differing, not_replayed = 0, [], []
    for check in checks:
        record = check["record"]
        if record is None:
            continue  # the check failed, or another program wrote it
        which = {"check_id": check["check_id"], "checked_at": check["checked_at"].isoformat()}
        try:
            if not isinstance(record, dict):
                raise InvalidInput("the decision's record cannot be read: it is no JSON object")
            found = differences(record, replay(record))
        except InvalidInput as error:
            not_replayed.append({**which, "problem": str(error)})
            continue
        count += 1
        if found:
            differing.append({**which, "differences": found})
    return count, differing, not_replayed


def _why(session: Session, deciding: dict[str, Any] | None, rollback: Rollback | None) -> Iterator[str]:
    if deciding is None:
        yield "it was not checked yet"
    elif rollback is not None and rollback.rollback_successful:
        yield f"it was rolled back to version {rollback.to_version} ({rollback.rollback_type}): {rollback.reason}"
    elif rollback is not None:
        yield f"its rollback is {rollback.state}: {rollback.error or rollback.reason}"
    else:
        yield f"it was not rolled back: the {'latest' if session.active else 'last'} verdict is {deciding['verdict']}"
    if session.notes:
        yield session.notes
    if session.creeping and session.creeping not in ((deciding or {}).get("reasons") or ()):
        yield session.creeping
    yield from (deciding or {}).get("reasons") or ()


def _distinct(sentences: Iterable[str]) -> list[str]:
    """Return the sentences without those that an earlier one quotes."""
    found: list[str] = []
    for sentence in sentences:
        if not any(sentence in earlier for earlier in found):
            found.append(sentence)
    return found


def _timeline(
    session: Session, checks: list[dict[str, Any]], rollback: Rollback | None, rollouts: list[Rollout]
) -> Iterator[tuple[datetime, str]]:
    version = "" if session.version_number is None else f" version {session.version_number}"
    yield session.deployment_time, f"{session.tool_name}{version} was deployed"
    begun = max(session.deployment_time, session.monitoring_started_at)  # the clock is read before the version is live
    yield begun, f"session {session.session_id} began"
    before = None
    for check in checks:
        if check["verdict"] != before:
            reason = (check["reasons"] or ["no reason was kept"])[0]
            yield check["checked_at"], f"{check['verdict']}: {reason}"
        before = check["verdict"]
    for rollout in rollouts:
        yield from _of_rollout(rollout)
    if rollback is not None:
        yield from _of_rollback(rollback)
    by_rollback = session.status == "rolled_back" and rollback is not None and rollback.state == "finished"
    if session.completed_at is not None and not by_rollback:  # the rollback says so already
        outcome = f" ({session.outcome})" if session.outcome else ""
        yield session.completed_at, f"the session ended: {session.status}{outcome}"


def _of_rollout(rollout: Rollout) -> Iterator[tuple[datetime, str]]:
    ramp, share = rollout.ramp, " and ".join(f"{100 * share:g} %" for share in rollout.ramp.plan.shares if share)
    what = "a rollout" if rollout.kind == CANARY else "a confirmation"
    both = f"version {rollout.new_version} served {share} beside version {rollout.old_version}"
    yield ramp.started_at, f"{what} began: {both}"
    if ramp.ended_at is not None:
        yield ramp.ended_at, f"{what} ended: {ramp.state}: {rollout.ended_why}"


def _of_rollback(rollback: Rollback) -> Iterator[tuple[datetime, str]]:
    tries = "" if rollback.attempts == 1 else f", at attempt {rollback.attempts}"
    if rollback.state == "finished":
        outcome = f"version {rollback.to_version} in place of version {rollback.from_version}{tries}"
        if rollback.claimed_at is not None and rollback.claimed_at < rollback.rollback_time:
            yield rollback.claimed_at, f"rollback decided: to version {rollback.to_version}"
    else:
        outcome = f"{rollback.error or rollback.reason}{tries}"
    yield rollback.rollback_time, f"rollback {rollback.state}: {outcome}"
    if rollback.verified_at is not None:
        yield rollback.verified_at, f"rollback verified: {rollback.verification_note}"


def _session(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "tool_name": session.tool_name,
        "version_number": session.version_number,
        "deployment_time": session.deployment_time.isoformat(),
        "window_end": session.window_end.isoformat(),
        "status": session.status,
        "outcome": session.outcome,
        "completed_at": None if session.completed_at is None else session.completed_at.isoformat(),
    }


def _decision(check: dict[str, Any]) -> dict[str, Any]:
    kept = {name: check[name] for name in ("check_id", "verdict", "needs_rollback", "reasons", "record")}
    return {"checked_at": check["checked_at"].isoformat(), **kept}


def _rollout(rollout: Rollout) -> dict[str, Any]:
    found = rollout.to_dict()
    del found["tool_name"], found["session_id"]
    total = None if rollout.arms is None else rollout.arms.total
    return found | {
        "new": None if total is None else {"units": total.new_units, "failures": total.new_failures},
        "old": None if total is None else {"units": total.old_units, "failures": total.old_failures},
    }


def _rollback(rollback: Rollback) -> dict[str, Any]:
    names = ("rollback_id", "state", "rollback_type", "from_version", "to_version", "rollback_successful", "error")
    return {
        "rollback_time": rollback.rollback_time.isoformat(),
        **{name: getattr(rollback, name) for name in names},
        "investigation": rollback.investigation,
    }
