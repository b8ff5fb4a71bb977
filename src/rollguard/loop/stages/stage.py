"""What a stage of the loop is: an object with a name and `run(now)`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable


class Stage(Protocol):
    """One step of the loop. It runs in a thread of its own, so a slow one delays no other.

    A stage may also have these attributes:

    * `interval_seconds`: time between the starts of two runs; without it the loop's `check_interval_seconds`. A stage
      with 0 runs again and again while the loop runs, waits by itself, and takes no part in a single cycle.
    * `follows`: names of stages after each run of which it runs too.

    Attributes:
        name: what the log calls it.
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
    """A stage that holds something while `AutonomousLoop.run` goes on."""

    def start(self) -> None:
        """Begin to hold it. Called in a thread, before the first run."""

    def interrupt(self) -> None:
        """Make a run that is under way return soon. Called when the loop stops, and must not block."""

    def close(self) -> None:
        """Let it go. Called in a thread, after the last run."""
