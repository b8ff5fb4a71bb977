"""The protocol of a channel, and the errors that it raises if it cannot deliver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rollguard.errors import RollguardError
from rollguard.model.event import Event


class Notifier(Protocol):
    """A channel that notifies people of events."""

    @property
    def name(self) -> str:
        """Return the channel's name. It must be the same in every process: deliveries are recorded by it."""
        ...

    def notify(self, event: Event) -> None:
        """Deliver the event. If this raises any error, Rollguard delivers it again later."""
        ...


@runtime_checkable
class Grouping(Notifier, Protocol):
    """A channel that sends events that come soon after each other as one message."""

    group_seconds: float
    """The least time between two messages."""

    def notify_together(self, events: Sequence[Event]) -> None:
        """Deliver some events as one message. If this raises any error, all of them are delivered again later."""
        ...


class NotDelivered(RollguardError):
    """A channel did not accept the event; Rollguard sends it again later."""


class Unreachable(NotDelivered):
    """A channel did not answer, so Rollguard skips it for the other events of this round."""
