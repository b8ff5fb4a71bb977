"""What a recorder needs of where it brings executions: a store, or a service that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from rollguard.errors import StoreError
from rollguard.model.execution import Execution
from rollguard.model.in_flight import CallInFlight
from rollguard.model.watcher import Watching


class RowsRefused(StoreError):
    """Some executions were refused, and the others are stored.

    Attributes:
        rows: those that were refused.
    """

    def __init__(self, problem: str, rows: list[Execution]) -> None:
        super().__init__(problem)
        self.rows = rows


class SinkExecutions(Protocol):
    """Makes executions, and takes them."""

    @property
    def is_simple(self) -> Callable[[dict[str, Any]], bool]:
        """See `Payloads.is_simple`."""

    def row(self, **execution: Any) -> Execution:
        """See `Encoding.row`."""

    def of_call(self, note: Sequence[Any]) -> Execution:
        """See `Encoding.of_call`."""

    def encoded(self, tool_name: str, what: str, value: Any, left_out: Iterable[Any] = ()) -> str | None:
        """See `Encoding.encoded`."""

    def error_text(self, text: str, parameters: object) -> str:
        """See `Encoding.error_text`."""

    def place(self, error: BaseException, parameters: object) -> tuple[str | None, str | None]:
        """See `Encoding.place`."""

    def write(self, executions: Iterable[Execution], *, durable: bool = False) -> int:
        """Store executions, each id once, and return how many are new.

        Raises:
            StoreUnavailable: none is known to be stored; try again later.
            RowsRefused: some were refused, and the others are stored.
            StoreError: one was refused, and none was stored.
        """

    def try_writing(self) -> None:
        """Raise `StoreError` if no execution at all is taken."""


class SinkDefinitions(Protocol):
    """Keeps since when tools' calls are counted by which limit."""

    def note(self, limits: Mapping[str, tuple[float | None, datetime]]) -> None:
        """See `FailureDefinitions.note`."""


class SinkFlights(Protocol):
    """Keeps the calls that run."""

    def publish(self, process_id: str, calls: Sequence[CallInFlight]) -> None:
        """See `Flights.publish`."""


class SinkDatabase(Protocol):
    """Says when it is read and closed."""

    def before_reading(self, call: Callable[[], None]) -> None:
        """Call a method before this process reads what is stored."""

    def before_closing(self, call: Callable[[], None]) -> None:
        """Call a method before this process closes the sink."""


class SinkWatchers(Protocol):
    """Knows who watches."""

    def watching(self) -> Watching:
        """See `Watchers.watching`."""


class Sink(Protocol):
    """Where a recorder brings executions."""

    @property
    def executions(self) -> SinkExecutions:
        """Makes executions, and takes them."""

    @property
    def definitions(self) -> SinkDefinitions:
        """Keeps by which limits calls are counted."""

    @property
    def in_flight(self) -> SinkFlights:
        """Keeps the calls that run."""

    @property
    def database(self) -> SinkDatabase:
        """Says when it is read and closed."""

    @property
    def watchers(self) -> SinkWatchers:
        """Knows who watches."""
