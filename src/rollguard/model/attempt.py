"""Attempts to improve a tool, and their state machine. Pure.

```mermaid
stateDiagram-v2
    [*] --> found
    found --> investigated: investigate
    investigated --> proposed: propose
    proposed --> waiting: rehearse
    proposed --> investigated: retry
    waiting --> waiting: vote
    waiting --> approved: approve
    approved --> deploying: intend
    deploying --> watching: deploy
    watching --> succeeded: succeed
    watching --> unproven: end
    watching --> failed: roll_back
    found --> dropped: drop
    investigated --> dropped: drop
    proposed --> refused: refuse
    waiting --> refused: refuse
    approved --> refused: refuse
    found --> failed: fail
    investigated --> failed: fail
    proposed --> failed: fail
    approved --> failed: fail
    deploying --> failed: fail
    found --> void: void
    investigated --> void: void
    proposed --> void: void
    waiting --> void: void
    approved --> void: void
    deploying --> void: void
    watching --> void: void
```

A person's change, or any other one, makes it void: the version that it improves is no longer live. What has ended never
changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rollguard.errors import InvalidInput


class State(StrEnum):
    """Where an attempt is."""

    FOUND = "found"
    INVESTIGATED = "investigated"
    PROPOSED = "proposed"
    WAITING = "waiting"
    APPROVED = "approved"
    DEPLOYING = "deploying"
    WATCHING = "watching"
    SUCCEEDED = "succeeded"
    UNPROVEN = "unproven"
    FAILED = "failed"
    REFUSED = "refused"
    VOID = "void"
    DROPPED = "dropped"


OPEN = (
    *(State.FOUND, State.INVESTIGATED, State.PROPOSED, State.WAITING),
    *(State.APPROVED, State.DEPLOYING, State.WATCHING),
)
"""The states of an attempt that has not ended: a unique index allows one such attempt a tool."""

NOT_GOOD = (State.FAILED, State.REFUSED)
"""The states that speak against trying the same cause again."""


class Why(StrEnum):
    """Why an attempt ended, in one word."""

    HEALTHY = "healthy"
    UNPROVEN = "unproven"
    ROLLED_BACK = "rolled_back"
    REGRESSED = "regressed"
    GATE = "gate"
    REJECTED = "rejected"
    EXPIRED = "expired"
    TAMPERED = "tampered"
    BASE_CHANGED = "base_changed"
    OUTSIDE_CAUSE = "outside_cause"
    NOTHING_FAILS = "nothing_fails"
    BACKING_OFF = "backing_off"
    CAP = "cap"
    BUDGET = "budget"
    NO_PROPOSAL = "no_proposal"
    GAVE_UP = "gave_up"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, possible only from the states it leaves.

    Attributes:
        name: its name, here, in `improvement_events` and in docs/loop.md.
        leaves: the states it may leave.
        enters: the state it enters.
    """

    name: str
    leaves: tuple[State, ...]
    enters: State


BEGIN = "find"
"""The event of an attempt that begins."""

INVESTIGATE = Transition("investigate", (State.FOUND,), State.INVESTIGATED)
PROPOSE = Transition("propose", (State.INVESTIGATED,), State.PROPOSED)
REHEARSE = Transition("rehearse", (State.PROPOSED,), State.WAITING)
RETRY = Transition("retry", (State.PROPOSED,), State.INVESTIGATED)
VOTE = Transition("vote", (State.WAITING,), State.WAITING)
APPROVE = Transition("approve", (State.WAITING,), State.APPROVED)
INTEND = Transition("intend", (State.APPROVED,), State.DEPLOYING)
DEPLOY = Transition("deploy", (State.DEPLOYING,), State.WATCHING)
SUCCEED = Transition("succeed", (State.WATCHING,), State.SUCCEEDED)
END = Transition("end", (State.WATCHING,), State.UNPROVEN)
ROLL_BACK = Transition("roll_back", (State.WATCHING,), State.FAILED)
DROP = Transition("drop", (State.FOUND, State.INVESTIGATED), State.DROPPED)
REFUSE = Transition("refuse", (State.PROPOSED, State.WAITING, State.APPROVED), State.REFUSED)
FAIL = Transition(
    "fail", (State.FOUND, State.INVESTIGATED, State.PROPOSED, State.APPROVED, State.DEPLOYING), State.FAILED
)
VOID = Transition("void", OPEN, State.VOID)
TRANSITIONS = (
    *(INVESTIGATE, PROPOSE, REHEARSE, RETRY, VOTE, APPROVE, INTEND, DEPLOY),
    *(SUCCEED, END, ROLL_BACK, DROP, REFUSE, FAIL, VOID),
)


def after(state: State, transition: Transition) -> State:
    """Return the state after a transition.

    Raises:
        InvalidInput: the transition does not leave this state.
    """
    if state not in transition.leaves:
        raise InvalidInput(f"an attempt that is {state} cannot {transition.name.replace('_', ' ')}")
    return transition.enters


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to improve a tool.

    Attributes:
        cause_key: names the cause; attempts for the same cause share it. None before the investigation.
        cause: the cause in words.
        kind, priority: of the opportunity.
        state, why: where it is, and why it ended.
        leased_by, leased_until: which stage works on it.
        starts: how often a stage began to work on it since its latest change of state.
        tries: proposals so far.
        idempotency_key: names what is done for it outside the database.
        base_version, base_sha256: the version that it improves.
        candidate, candidate_sha256: the proposed code.
        proposal: source, author, model, prompt_sha256 and reason of the proposal.
        strategy, verdict: of its rehearsal.
        evidence: the investigation, the rehearsal and what else the decision is bound to.
        reasons: for each try that did not stay: `author`, `sha256` and `reasons`, as its author may read them.
        budget: what it may cost: tokens, seconds and tries.
        tokens, cost, seconds: what it cost so far.
        expires_at: until when it can be approved and deployed.
        not_before: of one that ended: until when its tool is left alone.
        version_number, session_id: the deployed version and the session that monitors it.
    """

    attempt_id: int
    tool_name: str
    cause_key: str | None
    cause: str | None
    kind: str
    priority: str
    state: State
    why: Why | None
    leased_by: str | None
    leased_until: datetime | None
    starts: int
    tries: int
    idempotency_key: str
    base_version: int
    base_sha256: str
    candidate: bytes | None
    candidate_sha256: str | None
    proposal: Mapping[str, Any] | None
    strategy: str | None
    verdict: str | None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[Mapping[str, Any], ...] = ()
    budget: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    expires_at: datetime | None = None
    not_before: datetime | None = None
    version_number: int | None = None
    session_id: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Return whether it has not ended."""
        return self.state in OPEN

    @property
    def author(self) -> str | None:
        """Return who proposed the candidate."""
        return None if self.proposal is None else str(self.proposal.get("author"))

    @property
    def binding(self) -> str:
        """Return the hash that an approval is bound to: of the candidate, the base and the evidence as they are now."""
        code = hashlib.sha256(self.candidate or b"").hexdigest()
        return bound_to(code, self.base_sha256, self.evidence)

    @property
    def intact(self) -> bool:
        """Return whether the candidate's bytes are those that were rehearsed."""
        return hashlib.sha256(self.candidate or b"").hexdigest() == self.candidate_sha256

    def expired(self, now: datetime) -> bool:
        """Return whether it can no longer be approved or deployed."""
        decided = self.state in (State.WAITING, State.APPROVED)
        return decided and self.expires_at is not None and now >= self.expires_at

    def shown_state(self, now: datetime) -> str:
        """Return its state as it is at a moment: what has expired is refused, whatever the table still says."""
        return str(State.REFUSED) if self.expired(now) else str(self.state)


def bound_to(candidate_sha256: str, base_sha256: str, evidence: Mapping[str, Any]) -> str:
    """Return the hash that an approval is bound to."""
    said = json.dumps(evidence, sort_keys=True, separators=(",", ":"))
    parts = "\n".join((candidate_sha256, base_sha256, hashlib.sha256(said.encode()).hexdigest()))
    return hashlib.sha256(parts.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AttemptEvent:
    """One line of the history of an attempt, or of a freeze.

    Attributes:
        attempt_id: the attempt; None for a freeze.
        tool_name: the tool; None for a freeze of all.
        event: the name of the transition, or `find`, `freeze`, `unfreeze`.
        try_number: the number of the proposal that it is about.
        by: who did it: a stage of the loop, or a person.
    """

    event_id: int
    attempt_id: int | None
    tool_name: str | None
    at: datetime
    event: str
    from_state: str | None
    to_state: str | None
    try_number: int
    by: str
    reason: str | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How well the proposals of one author did.

    Attributes:
        author: who proposes, such as `command: claude`.
        proposals: attempts that ended with a proposal of it.
        deployed, succeeded, rolled_back: how many of them went live, were healthy, and were rolled back.
        tokens, cost: what they cost.
    """

    author: str
    proposals: int
    deployed: int
    succeeded: int
    rolled_back: int
    tokens: int
    cost: float

    @property
    def success_rate(self) -> float | None:
        """Return the share of proposals that were healthy; None without proposals."""
        return self.succeeded / self.proposals if self.proposals else None
