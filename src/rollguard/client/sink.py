"""Bring executions to a service: what a recorder needs of a store, over HTTP."""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json

from rollguard.client.connection import Connection
from rollguard.errors import StoreError, StoreUnavailable
from rollguard.model.execution import FIELDS, Execution
from rollguard.model.in_flight import CallInFlight
from rollguard.model.log import logger_of
from rollguard.model.watcher import Watching
from rollguard.record.sink import RowsRefused
from rollguard.store import Encoding, Payloads

logger = logger_of(__name__)

_AS_JSON = ("parameters", "result", "tags", "failed_at")  # fields that hold JSON already
_PLAIN = tuple(name for name in FIELDS if name not in _AS_JSON)
_OF_THE_ROWS = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_SIZE, _ROWS = 1_048_576, 1_000  # bytes and rows of one request
LINES = "application/x-ndjson"


class RemoteExecutions(Encoding):
    """Makes executions as a store does, and sends them to a service.

    Args:
        connection: the service.
        payloads: how parameters, results and errors are encoded, before they leave this process.
    """

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        super().__init__(payloads)
        self._connection = connection

    def write(self, executions: Iterable[Execution], *, durable: bool = False) -> int:
        """Send executions; what the service acknowledges is stored, or on its disk.

        Raises:
            StoreUnavailable: not all are known to be stored. Sending them again stores none twice.
            RowsRefused: the service refused some, and acknowledged the others.
        """
        new, refused, problem = 0, list[Execution](), ""
        for rows, body in _bodies(executions):
            stored, positions, said = self._send(rows, body)
            new, problem = new + stored, problem or said
            refused += [rows[position] for position in positions]
        if refused:
            raise RowsRefused(problem, refused)
        return new

    def try_writing(self) -> None:
        """Do nothing: a service that refuses a row because of the row itself takes others."""

    def _send(self, rows: list[Execution], body: bytes) -> tuple[int, list[int], str]:
        """Return how many were new, which were refused, and why."""
        response = self._connection.request("POST", "api/v1/executions", content=body, kind=LINES)
        if response.status_code in _OF_THE_ROWS:
            found = _positions(_json(response).get("rows"), len(rows))
            if not found and len(rows) > 1:
                raise StoreError(self._connection.says(response))  # each is then sent on its own
            return 0, found or [0], self._connection.says(response)
        if not response.is_success:
            raise StoreUnavailable(self._connection.says(response))
        answer = _json(response)
        if "received" not in answer:
            raise StoreUnavailable(self._connection.says(response))
        if answer.get("conflicts"):
            logger.warning(
                "%d executions were stored before with other content; the first ones are kept", len(answer["conflicts"])
            )
        refused = answer.get("refused") or []
        said = str(refused[0].get("problem")) if refused else ""
        return int(answer["stored"]) + int(answer["waiting"]), _positions(refused, len(rows)), said


class _RemoteDefinitions:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def note(self, limits: Mapping[str, tuple[float | None, datetime]]) -> None:
        """Note tools' limits, each with the first execution by it."""
        given = [
            {"tool_name": name, "timeout_seconds": seconds, "since": since.astimezone(UTC).isoformat()}
            for name, (seconds, since) in limits.items()
        ]
        _sent(self._connection, "POST", "api/v1/time-limits", {"limits": given})


class _RemoteFlights:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def publish(self, process_id: str, calls: Sequence[CallInFlight]) -> None:
        """Replace the calls of this process that have not ended."""
        running = [
            {
                "tool_name": one.tool_name,
                "version_number": one.version_number,
                "began_at": one.began_at.astimezone(UTC).isoformat(),
            }
            for one in calls
        ]
        host = socket.gethostname() or "host"
        given = {"process_id": process_id, "host": host, "pid": os.getpid(), "calls": running}
        _sent(self._connection, "PUT", "api/v1/in-flight", given)


class _RemoteWatchers:
    def watching(self) -> Watching:
        """Raise an error: the service itself reports it if nobody watches."""
        raise StoreError("whether anybody watches is known where the service runs")


class Hooks:
    """Calls methods, for as long as their objects live, before this process reads and at the end."""

    def __init__(self) -> None:
        self._reading: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._closing: list[weakref.WeakMethod[Callable[[], None]]] = []

    def before_reading(self, call: Callable[[], None]) -> None:
        """Call a method before this process reads what is stored."""
        self._reading.append(weakref.WeakMethod(call))

    def before_closing(self, call: Callable[[], None]) -> None:
        """Call a method before the client is closed."""
        self._closing.append(weakref.WeakMethod(call))

    def read(self) -> None:
        """Call what is to be called before reading."""
        _call(self._reading)

    def close(self) -> None:
        """Call what is to be called at the end."""
        _call(self._closing)


class RemoteStore:
    """A service, as a recorder sees it; see `rollguard.record.sink.Sink`.

    Args:
        connection: the service.
        payloads: how parameters, results and errors are encoded.
    """

    def __init__(self, connection: Connection, payloads: Payloads) -> None:
        self.executions = RemoteExecutions(connection, payloads)
        self.definitions = _RemoteDefinitions(connection)
        self.in_flight = _RemoteFlights(connection)
        self.watchers = _RemoteWatchers()
        self.database = Hooks()


def _bodies(executions: Iterable[Execution]) -> Iterator[tuple[list[Execution], bytes]]:
    """Yield executions as JSON lines, as many as one request takes."""
    rows, lines, size = list[Execution](), list[bytes](), 0
    for row in executions:
        line = line_of(row)
        if lines and (size + len(line) > _SIZE or len(rows) >= _ROWS):
            yield rows, b"\n".join(lines)
            rows, lines, size = [], [], 0
        rows.append(row)
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield rows, b"\n".join(lines)


def line_of(row: Execution) -> bytes:
    """Return an execution as one line of JSON; what is JSON already stays as it is."""
    plain = to_json({name: value for name in _PLAIN if (value := getattr(row, name)) is not None})
    parts = [
        b',"%b":%b' % (name.encode(), value.encode()) for name in _AS_JSON if (value := getattr(row, name)) is not None
    ]
    return plain[:-1] + b"".join(parts) + b"}"


def _sent(connection: Connection, method: str, path: str, body: object) -> None:
    """Send a body. What the service refuses it refuses again, and executions go on without it."""
    response = connection.request(method, path, content=to_json(body))
    if not response.is_success:
        refused = response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        raise (StoreError if refused else StoreUnavailable)(connection.says(response))


def _json(response: Any) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _positions(rows: object, most: int) -> list[int]:
    found = [one.get("row") for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    return [place for place in found if isinstance(place, int) and 0 <= place < most]


def _call(methods: list[weakref.WeakMethod[Callable[[], None]]]) -> None:
    for method in methods:
        if (call := method()) is not None:
            call()
