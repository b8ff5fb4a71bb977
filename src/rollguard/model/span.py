"""Spans that are kept for a while, because several of them may be one call of a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from rollguard.model.execution import Execution

Key = tuple[str, str]
"""A trace's id and a span's id."""


class KeptSpan(NamedTuple):
    """A span, as it is kept until no other span of the same call can arrive any more.

    Attributes:
        parent_id: the span above it; '' for none, None while only an exception is known that was logged within it.
        due_at: when it is no longer waited for others.
        call: what is said of the call of a tool that it is of; None for any other span.
        execution: what is recorded if it is the outermost span of its call; None once the call is recorded.
        failed: the exception that was logged within it.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    due_at: datetime
    call: Mapping[str, Any] | None = None
    execution: Execution | None = None
    failed: Mapping[str, Any] | None = None

    @property
    def key(self) -> Key:
        """Return what identifies the span."""
        return self.trace_id, self.span_id

    @property
    def waits(self) -> bool:
        """Return whether it is of a call that is not recorded yet."""
        return self.execution is not None


@dataclass(slots=True)
class Recorded:
    """Which calls are complete.

    Attributes:
        executions: one for each of them.
        keys: the spans that belong to them, or to a call that was recorded before.
    """

    executions: list[Execution] = field(default_factory=list)
    keys: set[Key] = field(default_factory=set)


Decide = Callable[[Sequence[KeptSpan]], Recorded]
"""Returns which calls are complete, from all kept spans of some traces."""
