"""Proposals: repairs that the loop proposes, and a person's decisions about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from rollguard.app import Rollguard
from rollguard.errors import AttemptClosed
from rollguard.loop.improvement.approvals import Approvals, patch_of
from rollguard.model.attempt import OPEN, Attempt
from rollguard.service.api.common import (
    WRITES,
    Cursor,
    Given,
    Guarded,
    Limit,
    Number,
    OptionalTool,
    Page,
    Reason,
    api_router,
    number_of,
    page,
    problems,
)
from rollguard.service.auth import Approving, Caller, Reading

router = api_router("/api/v1/proposals", "proposals")


class ProposalShown(BaseModel):
    """One attempt to improve a tool."""

    attempt_id: int
    tool_name: str
    state: str
    why: str | None = Field(description="Why it ended.")
    cause: str | None
    kind: str
    priority: str
    author: str | None = Field(description="Who proposed; they may not approve.")
    tries: int
    base_version: int
    base_sha256: str
    candidate_sha256: str | None
    binding: str = Field(description="The hash of the candidate, its base and the evidence: name it to approve them.")
    strategy: str | None
    verdict: str | None
    tokens: int
    cost: float
    seconds: float
    created_at: datetime | None
    expires_at: datetime | None
    ended_at: datetime | None
    version_number: int | None
    session_id: int | None


class ProposalEvent(BaseModel):
    """One line of the history of an attempt."""

    at: datetime
    event: str
    by: str
    reason: str | None
    from_state: str | None
    to_state: str | None


class ProposalWhole(ProposalShown):
    """One attempt with its change, its evidence and its history."""

    patch: str = Field(description="The unified diff from the base to the candidate.")
    evidence: dict[str, Any]
    reasons: list[Any] = Field(description="Why earlier tries did not stay.")
    history: list[ProposalEvent]


class Approve(Given):
    """The approval of a proposal as it was read."""

    binding: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="`binding` of the proposal that you read.")]
    reason: Reason


class Reject(Given):
    """The rejection of a proposal."""

    reason: Reason


def _values(attempt: Attempt, now: datetime) -> dict[str, Any]:
    own = {"state": attempt.shown_state(now), "author": attempt.author, "binding": attempt.binding}
    names = ProposalShown.model_fields.keys() - own.keys()
    return {**{name: getattr(attempt, name) for name in names}, **own}


def _shown(now: datetime) -> Callable[[Attempt], ProposalShown]:
    return lambda attempt: ProposalShown.model_validate(_values(attempt, now))


@router.get("")
def list_proposals(
    guard: Guarded,
    _caller: Reading,
    tool: OptionalTool = None,
    ended: Annotated[bool, Query(description="Those that ended, too.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ProposalShown]:
    """List attempts to improve tools, newest first."""
    states = None if ended else OPEN
    found = guard.store.attempts.recent(tool_name=tool, states=states, limit=limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one.attempt_id), _shown(datetime.now(UTC)))


@router.get("/{attempt_id}", responses=problems(404))
def get_proposal(guard: Guarded, _caller: Reading, attempt_id: Number) -> ProposalWhole:
    """Return one attempt: its change, what the decision about it is bound to, and its history."""
    attempt, store = guard.store.attempts.get(attempt_id), guard.store
    values = _values(attempt, datetime.now(UTC))
    history = [asdict(one) for one in store.attempt_events.of(attempt_id)]
    more = {"evidence": dict(attempt.evidence), "reasons": list(attempt.reasons), "history": history}
    return ProposalWhole.model_validate({**values, **more, "patch": patch_of(guard.store, attempt)})


@router.post("/{attempt_id}/approve", responses=WRITES)
def approve_proposal(guard: Guarded, caller: Approving, attempt_id: Number, wanted: Approve) -> ProposalShown:
    """Approve a proposal as it was read. It waits until enough people have; then the loop deploys it."""
    attempt = guard.store.attempts.get(attempt_id)
    if attempt.binding != wanted.binding:
        raise AttemptClosed(f"attempt {attempt_id} is not what you read any more; read it again, then decide")
    return _decided(guard, caller, "approve", attempt_id, wanted.reason)


@router.post("/{attempt_id}/reject", responses=WRITES)
def reject_proposal(guard: Guarded, caller: Approving, attempt_id: Number, wanted: Reject) -> ProposalShown:
    """Reject a proposal, also one that is approved and not deployed yet."""
    return _decided(guard, caller, "reject", attempt_id, wanted.reason)


def _decided(guard: Rollguard, caller: Caller, what: str, attempt_id: int, reason: str) -> ProposalShown:
    approvals, now = Approvals(guard.store, guard.settings.loop), datetime.now(UTC)
    decide = approvals.approve if what == "approve" else approvals.reject
    return _shown(now)(decide(attempt_id, by=caller.name, reason=reason, now=now))
