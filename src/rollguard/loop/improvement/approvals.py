"""Decide about a proposal: people, or a policy that the settings switch on.

An approval is bound to the hash of the candidate, of its base and of the evidence. It holds until the proposal expires.
"""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

from rollguard.errors import ApprovalRefused
from rollguard.loop.improvement.work import cooling
from rollguard.loop.rules import ApprovalRules, LoopRules
from rollguard.model.attempt import APPROVE, REFUSE, VOID, VOTE, Attempt, State, Transition, Why
from rollguard.model.names import checked_id
from rollguard.model.text_diff import unified_diff
from rollguard.store import ExecutionStore, Step, fewer_than, votes_are

POLICY = "policy"
"""Who approves what the settings let through; see `ApprovalRules.automatic`."""


def patch_of(store: ExecutionStore, attempt: Attempt) -> str:
    """Return what a proposal changes, as a unified diff; empty without a candidate."""
    if attempt.candidate is None:
        return ""
    base = store.versions.get(attempt.tool_name, attempt.base_version).code
    names = (f"version {attempt.base_version}", f"attempt {attempt.attempt_id}")
    return unified_diff(base, attempt.candidate, *names).text


class Approvals:
    """Decisions about proposals, each with its row in `improvement_events`.

    Args:
        store: the attempts.
        rules: who may decide, how many have to, and how long a cause is left alone afterwards.
    """

    def __init__(self, store: ExecutionStore, rules: LoopRules | None = None) -> None:
        self._store, self._loop = store, rules or LoopRules()
        self._rules = self._loop.approval

    def approve(self, attempt_id: int, *, by: str, reason: str, now: datetime) -> Attempt:
        """Approve a proposal. It stays waiting until enough people have.

        Raises:
            UnknownAttempt: there is no such attempt.
            ApprovalRefused: it does not wait for approval, has expired, is not what was rehearsed, or you may not.
            AttemptClosed: somebody else decided at the same moment; look again.
        """
        attempt = self._waiting(attempt_id, now)
        checked_id("by", by)
        if by == attempt.author:
            raise ApprovalRefused(f"{by} proposed attempt {attempt_id}, and who proposes does not approve")
        if self._rules.approvers and by not in self._rules.approvers:
            raise ApprovalRefused(f"{by} is not one of the approvers: {', '.join(self._rules.approvers)}")
        given = self._store.attempt_events.votes(attempt_id)
        voters = valid_voters(given, attempt, self._rules)
        if by in voters:
            raise ApprovalRefused(f"{by} has approved attempt {attempt_id} already; somebody else has to")
        enough = len(voters) + 1 >= self._rules.approvals
        step = _decision(APPROVE if enough else VOTE, attempt, by, reason)
        return self._store.attempts.move(attempt, step, now, conditions=[votes_are(len(given))])

    def approve_by_policy(self, attempt: Attempt, *, worker: str, now: datetime) -> Attempt:
        """Approve a proposal that passed, without a person; see `ApprovalRules.automatic`.

        Raises:
            AttemptClosed: the most of today are approved, or its state has changed.
        """
        reason = f"rehearsed by {attempt.strategy}, which the settings let through"
        most = fewer_than(self._rules.max_automatic_per_day, APPROVE.name, POLICY)
        step = _decision(APPROVE, attempt, POLICY, reason)
        return self._store.attempts.move(attempt, step, now, worker=worker, conditions=[most])

    def lets_through(self, attempt: Attempt) -> bool:
        """Return whether the settings let a proposal through without a person."""
        return attempt.verdict == "passes" and attempt.strategy in self._rules.automatic and attempt.intact

    def reject(self, attempt_id: int, *, by: str, reason: str, now: datetime) -> Attempt:
        """Reject a proposal, also one that is approved and not deployed yet. Its cause is left alone for a while.

        Raises:
            UnknownAttempt: there is no such attempt.
            ApprovalRefused: there is nothing to decide about any more.
        """
        attempt = self._store.attempts.get(attempt_id)
        checked_id("by", by)
        if attempt.state not in (State.WAITING, State.APPROVED):
            raise ApprovalRefused(f"attempt {attempt_id} is {attempt.state}, so there is nothing to reject")
        entry = {"author": attempt.author, "sha256": attempt.candidate_sha256, "reasons": [f"a person: {reason}"]}
        values = {"reasons": [*map(dict, attempt.reasons), entry], **cooling(self._store, self._loop, attempt, now)}
        step = Step(REFUSE, by, reason, why=Why.REJECTED, values=values, details={"binding": attempt.binding})
        return self._store.attempts.move(attempt, step, now)

    def problem(self, attempt: Attempt, now: datetime) -> tuple[Transition, Why, str] | None:
        """Return why an approved proposal may not be deployed, and what becomes of it; None if it may."""
        if attempt.expired(now):
            return REFUSE, Why.EXPIRED, f"it expired at {attempt.expires_at:%Y-%m-%d %H:%M} UTC"
        if not attempt.intact:
            return REFUSE, Why.TAMPERED, "its bytes are not those that were rehearsed"
        given = self._store.attempt_events.votes(attempt.attempt_id)
        if (POLICY, attempt.binding) in given:
            return None
        if len(valid_voters(given, attempt, self._rules)) < self._rules.approvals:
            return REFUSE, Why.TAMPERED, "the candidate, its base or the evidence are not those that were approved"
        return None

    def _waiting(self, attempt_id: int, now: datetime) -> Attempt:
        """Return a proposal that can be approved. One that cannot any more is refused for good."""
        attempt = self._store.attempts.get(attempt_id)
        if attempt.state is not State.WAITING:
            raise ApprovalRefused(f"attempt {attempt_id} is {attempt.state}; only one that is waiting can be approved")
        if attempt.expired(now):
            self._refuse(attempt, REFUSE, Why.EXPIRED, f"it expired at {attempt.expires_at:%Y-%m-%d %H:%M} UTC", now)
        if not attempt.intact:
            self._refuse(attempt, REFUSE, Why.TAMPERED, "its bytes are not those that were rehearsed", now)
        live = self._store.versions.live(attempt.tool_name)
        found = None if live is None else self._store.versions.get(attempt.tool_name, live.version_number)
        if found is None or found.sha256 != attempt.base_sha256:
            self._refuse(attempt, VOID, Why.BASE_CHANGED, "something else is live than what it improves", now)
        return attempt

    def _refuse(self, attempt: Attempt, transition: Transition, why: Why, reason: str, now: datetime) -> NoReturn:
        values = {} if transition is VOID else cooling(self._store, self._loop, attempt, now)
        self._store.attempts.move(attempt, Step(transition, "approve", reason, why=why, values=values), now)
        raise ApprovalRefused(f"attempt {attempt.attempt_id} of {attempt.tool_name} cannot be approved: {reason}")


def valid_voters(given: list[tuple[str, str]], attempt: Attempt, rules: ApprovalRules) -> set[str]:
    """Return who approved exactly what the attempt holds now, and may."""
    return {
        by
        for by, binding in given
        if binding == attempt.binding and by != attempt.author and (not rules.approvers or by in rules.approvers)
    }


def _decision(transition: Transition, attempt: Attempt, by: str, reason: str) -> Step:
    return Step(transition, by, reason, details={"binding": attempt.binding})
