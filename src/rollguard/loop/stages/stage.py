"""The protocol of a stage of the loop: an object with a name and `run(now)`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable


class Stage(Protocol):
    """One step of the loop. It runs in a thread of its own, so a slow one delays no other.

    A stage may also have these attributes:

    * `interval_seconds`: time between the starts of two runs; by default the loop's `check_interval_seconds`. With 0,
      the stage runs without pause while the loop runs, does its own waiting, and is not part of a single cycle.
    * `follows`: names of stages; it also runs after each run of one of them.
    * `beside_monitoring`: True for a stage that is not part of `check_deployment_health`, and that a loop which stops
      does not wait for. It must go on with what it left, after a restart.

    Attributes:
        name: its name in the log.
    """

    name: str

    def run(self, now: datetime | None) -> Mapping[str, int]:
        """Run once. An exception is logged and counted as an error, and the stage runs again later.

        Args:
            now: the moment to act at; None, as in a running loop, is the present one.

        Returns:
            Counts to add to the loop's `stats`.
        """


@runtime_checkable
class ResidentStage(Stage, Protocol):
    """A stage that holds a resource while `AutonomousLoop.run` runs."""

    def start(self) -> None:
        """Acquire the resource. Called in a thread, before the first run."""

    def interrupt(self) -> None:
        """Make a run under way return soon. Called when the loop stops; it must not block."""

    def close(self) -> None:
        """Release the resource. Called in a thread, after the last run."""
