"""What a channel is, and how it says that it could not deliver."""

from __future__ import annotations

from typing import Protocol

from rollguard.errors import RollguardError
from rollguard.model.event import Event


class Notifier(Protocol):
    """A channel that tells people of events."""

    @property
    def name(self) -> str:
        """The channel's name, the same in every process: delivery is remembered under it."""
        ...

    def notify(self, event: Event) -> None:
        """Tell of the event; whatever is raised makes it be told again later."""
        ...


class NotDelivered(RollguardError):
    """A channel did not take the event; it is sent again later."""


class Unreachable(NotDelivered):
    """Nobody answered, so that the channel need not be tried with other events right now."""
