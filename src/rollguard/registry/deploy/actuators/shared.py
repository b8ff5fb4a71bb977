"""An actuator that several tools share: one request restores all of them, as with an image or a server."""

from __future__ import annotations

from dataclasses import dataclass

from rollguard.registry.deploy.actuators.actuator import Actuator, Request


@dataclass(frozen=True, eq=False)
class SharedActuator:
    """Puts what several tools come from in its place, with one request for all of them.

    Args:
        name: its name in the settings.
        actuator: sends the request.
        tools: the tools that it restores together.
    """

    name: str
    actuator: Actuator
    tools: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Return the kind of the actuator, for the journal."""
        return self.actuator.kind

    @property
    def patience(self) -> float:
        """Return the longest duration of `put`, in seconds."""
        return self.actuator.patience

    def put(self, request: Request) -> str | None:
        """Send the request. Same errors as `Actuator.put`."""
        return self.actuator.put(request)
