"""What an actuator is asked, and what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from rollguard.errors import ActuatorFailed
from rollguard.model.version import Version
from rollguard.store.executions.payloads import clean_text

_KEPT = 4_000  # characters of what an actuator said that are kept in the journal, from its end


@dataclass(frozen=True, slots=True)
class Order:
    """One version to be put in its place.

    Attributes:
        version: what is to run from now on, with its code.
        action: why: "rollback", "deploy", or "settle" (what is live is asked for again, since an earlier order's end is
            not known).
        key: the same each time that the same order is given again; carrying it out twice must be the same as once.
        sequence: rises with every order for the tool. An order with a lower one than was seen before is out of date.
    """

    version: Version
    action: str
    key: str
    sequence: int


class Actuator(Protocol):
    """Puts a version of a tool where the tool lives."""

    @property
    def kind(self) -> str:
        """What it is, as the journal names it."""
        ...

    @property
    def patience(self) -> float:
        """Seconds that `put` takes at most; no other order for the tool is given meanwhile."""
        ...

    def put(self, order: Order) -> str | None:
        """Have the version run. Returns when that is acknowledged, with anything that was said.

        Raises:
            ActuatorFailed: it was not acknowledged, so that nobody knows whether it happened.
        """
        ...


def carry_out(actuator: Actuator, order: Order) -> str | None:
    """Give an order; whatever goes wrong in an actuator, which may be anybody's code, is an `ActuatorFailed`."""
    try:
        said = actuator.put(order)
    except ActuatorFailed as error:
        raise ActuatorFailed(clean_text(str(error)), kept(error.output)) from error
    except Exception as error:
        raise ActuatorFailed(clean_text(f"{actuator.kind}: {type(error).__name__}: {error}")) from error
    return kept(said)


def kept(said: str | None) -> str | None:
    """The end of what an actuator said, as the journal keeps it."""
    return clean_text(said[-_KEPT:]) if said else None
