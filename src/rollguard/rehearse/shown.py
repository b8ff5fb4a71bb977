"""Write inputs and outcomes for people, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.rehearse.calls import NO_RESULT, Call
from rollguard.rehearse.pairs import Pair
from rollguard.sandbox.outcome import Outcome, OutcomeKind
from rollguard.store import ExecutionStore

_SHOWN = 2_000  # characters of an output


@dataclass(frozen=True, slots=True)
class Shown:
    """Writes inputs and outcomes for people, without secrets.

    Attributes:
        redaction: which texts are secrets.
        secrets: texts that are secrets too, such as the variables that a tool was given.
    """

    redaction: Redaction = DEFAULT
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: ExecutionStore | None, secrets: Iterable[str] = ()) -> Shown:
        """Return one for a store's redaction."""
        return cls(DEFAULT if store is None else store.redaction, tuple(secrets))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self.redaction.text(text, self.secrets)

    def pair(self, pair: Pair) -> dict[str, Any]:
        """Return an input with what both versions did."""
        return {
            "kind": pair.kind.value,
            "call_id": pair.call.call_id,
            "held_out": pair.call.held_out,
            "moved": pair.moved,
            "parameters": pair.call.parameters,
            "old": self.text(said_by(pair.runs.old)),
            "new": self.text(said_by(pair.runs.new)),
            "old_successes": [pair.old_successes, len(pair.runs.old)],
            "new_successes": [pair.new_successes, len(pair.runs.new)],
            "differences": [self.text(str(difference)) for difference in pair.differences],
        }

    def replayed(self, call: Call, outcome: Outcome) -> dict[str, Any]:
        """Return a recorded call with what the candidate did."""
        before = call.signature if call.result is NO_RESULT else f"returned {json.dumps(call.result)}"
        return {
            "call_id": call.call_id,
            "parameters": call.parameters,
            "recorded": self.text(before or "succeeded")[:_SHOWN],
            "new": self.text(said_by([outcome])),
        }


def said_by(outcomes: Sequence[Outcome]) -> str:
    """Return what a version did with an input, by its first run, in words."""
    outcome = outcomes[0]
    if outcome.kind is OutcomeKind.RETURNED:
        text = f"returned {outcome.result}"
    else:
        where = f" (line {outcome.frame.line}: {outcome.frame.text})" if outcome.frame else ""
        what = ": ".join(filter(None, (outcome.error_type, outcome.error)))
        text = f"{outcome.kind.value.replace('_', ' ')} {what}{where}".strip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
