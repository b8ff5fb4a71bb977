"""What the pages of proposals show: what the loop would change, why, what it fixes and breaks, and who decided what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollguard.model.attempt import Attempt, AttemptEvent, State, TrackRecord
from rollguard.model.text_diff import Diff, unified_diff
from rollguard.store import ExecutionStore

_MOST = 100
_KINDS = ("fixed", "broken", "changed", "same")
_LOOKS = {"broken": "bad", "changed": "warn", "fixed": "good"}
_ORDER = [*_LOOKS.values(), "quiet"]


@dataclass(frozen=True, slots=True)
class Proposals:
    """The list of attempts.

    Attributes:
        waiting: those that a person has to decide.
        others: the latest others.
        authors: how well the proposals of each author did.
        frozen: by tool, who froze it and why; None is every tool.
    """

    waiting: Sequence[Attempt]
    others: Sequence[Attempt]
    authors: Sequence[TrackRecord]
    frozen: dict[str | None, AttemptEvent]


@dataclass(frozen=True, slots=True)
class Tried:
    """One recorded input with which the candidate does something else than the live version."""

    look: str
    kind: str
    parameters: str
    old: str
    new: str
    held_out: bool


@dataclass(frozen=True, slots=True)
class ProposalView:
    """One attempt.

    Attributes:
        base: the version that it improves, as it was.
        diff: from there to the candidate; None while there is no candidate.
        rehearsal: what the gate found; None before.
        tried: the inputs with another outcome, what is broken first.
        votes: who approved it as it is now.
    """

    attempt: Attempt
    state: str
    diff: Diff | None
    rehearsal: dict[str, Any] | None
    tried: Sequence[Tried]
    events: Sequence[AttemptEvent]
    votes: Sequence[str]

    @property
    def waiting(self) -> bool:
        """Return whether a person may approve it."""
        return self.state == State.WAITING

    @property
    def rejectable(self) -> bool:
        """Return whether a person may reject it."""
        return self.state in (State.WAITING, State.APPROVED)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Return how many inputs are fixed, broken, changed and the same."""
        found = self.rehearsal or {}
        return [(kind, int(found.get(kind, 0))) for kind in _KINDS]


def proposals(store: ExecutionStore, now: datetime) -> Proposals:
    """Read the list."""
    found = store.attempts.recent(limit=_MOST)
    waiting = [one for one in found if one.shown_state(now) == State.WAITING]
    numbers = {one.attempt_id for one in waiting}
    others = [one for one in found if one.attempt_id not in numbers]
    return Proposals(waiting, others, store.attempts.track_records(), store.freezes.all())


def proposal(store: ExecutionStore, attempt_id: int, now: datetime) -> ProposalView:
    """Read one attempt.

    Raises:
        UnknownAttempt: there is none with that number.
    """
    attempt = store.attempts.get(attempt_id)
    diff = None
    if attempt.candidate is not None:
        base = store.versions.get(attempt.tool_name, attempt.base_version).code
        names = (f"version {attempt.base_version}", f"attempt {attempt_id}")
        diff = unified_diff(base, attempt.candidate, *names)
    rehearsal = attempt.evidence.get("rehearsal")
    inputs = rehearsal.get("inputs") or () if rehearsal else ()
    return ProposalView(
        attempt=attempt,
        state=attempt.shown_state(now),
        diff=diff,
        rehearsal=rehearsal,
        tried=sorted(map(_tried, inputs), key=lambda one: _ORDER.index(one.look)),
        events=store.attempt_events.of(attempt_id),
        votes=[by for by, binding in store.attempt_events.votes(attempt_id) if binding == attempt.binding],
    )


def _tried(one: dict[str, Any]) -> Tried:
    parameters = json.dumps(one.get("parameters"), ensure_ascii=False)
    kind = str(one.get("kind"))
    return Tried(
        _LOOKS.get(kind, "quiet"), kind, parameters, str(one["old"]), str(one["new"]), bool(one.get("held_out"))
    )
