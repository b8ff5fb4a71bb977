"""The protocol of actuators, and the requests that they get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rollguard.errors import ActuatorFailed
from rollguard.model.version import Version
from rollguard.store.executions.payloads import clean_text

_KEPT = 4_000  # the last characters of an actuator's output, which the journal keeps


@dataclass(frozen=True, slots=True)
class Request:
    """A request to make one version live.

    Attributes:
        version: the version to run from now on, with its code.
        action: "rollback", "deploy", "withdraw" (stop running this version: its release added the tool), or "settle"
            (request the live version again, because the result of an earlier request is unknown).
        key: the same for each repetition of a request; carrying it out twice must be the same as once.
        sequence: rises with every request for the tool. A request with a lower one than a known one is out of date.
        label: the newest release of the version; empty without one.
        tools: the tools that it restores; several if they share the actuator, and `version` is that of one of them.
    """

    version: Version
    action: str
    key: str
    sequence: int
    label: str = ""
    tools: tuple[str, ...] = ()


class Actuator(Protocol):
    """Makes a version of a remote tool live at its target."""

    @property
    def kind(self) -> str:
        """Return the kind of the actuator, for the journal."""
        ...

    @property
    def patience(self) -> float:
        """Return the longest duration of `put`, in seconds; no other request for the tool is sent meanwhile."""
        ...

    def put(self, request: Request) -> str | None:
        """Make the version live. Return the target's output after its acknowledgement.

        Raises:
            ActuatorFailed: the target did not acknowledge, so it is unknown whether the version is live.
        """
        ...


def carry_out(actuator: Actuator, request: Request) -> str | None:
    """Send a request; raise `ActuatorFailed` for any error of the actuator, which may be the user's code."""
    try:
        said = actuator.put(request)
    except ActuatorFailed as error:
        raise ActuatorFailed(clean_text(str(error)), kept(error.output)) from error
    except Exception as error:
        raise ActuatorFailed(clean_text(f"{actuator.kind}: {type(error).__name__}: {error}")) from error
    return kept(said)


def kept(said: str | None) -> str | None:
    """Return the end of an actuator's output, for the journal."""
    return clean_text(said[-_KEPT:]) if said else None
