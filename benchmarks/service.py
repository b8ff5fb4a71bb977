"""Executions a second over HTTP to a service, beside the cost of parsing the same bytes alone.

A service runs in a process of its own on SQLite, and listens on this machine. What it acknowledges is checked,
redacted, stored with an `fsync`, and counted in the rollups. Parsing alone is one pass of pydantic's JSON parser over
the same bytes, line by line: it makes Python's values of them, and nothing else. Parsing and inserting alone is what
the least receiver does: no network, no checks, no redaction, no rollups. The client records calls of a function as a
program does; its time ends when every call is stored.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from benchmarks.harness import Aim, Options, Result, duration, medians, number, ratio, seconds, versions
from rollguard.client import Client

AIM = 0.5
_BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_ROWS = 1_000  # of one request
_CALLERS = 2
_PATH, _LINES = "/api/v1/executions", {"Content-Type": "application/x-ndjson"}


def run(options: Options) -> Result:
    """Measure."""
    count = 200 if options.tiny else 100_000 if options.full else 20_000
    result = Result(
        name="service",
        title="The service",
        about=__doc__,
        columns=["", "time", "executions/s", "of parsing alone", "of parsing and inserting"],
        notes=[
            f"{number(count)} executions of 20 tools in JSON lines, {number(_ROWS)} a request, each with an id of its "
            "own, small parameters and a result. On SQLite, by default.",
            f"{_CALLERS} callers send at the same time, each over one connection.",
            "A request is acknowledged when its executions are committed and on the disk.",
            versions("fastapi", "uvicorn", "pydantic"),
        ],
    )
    serial = itertools.count()
    with tempfile.TemporaryDirectory() as place, _service(Path(place)) as port:
        bodies = _bodies(count, next(serial))

        def fresh(send: Callable[[list[bytes]], object]) -> float:
            made = _bodies(count, next(serial))
            return seconds(lambda: send(made))

        actions: dict[str, Callable[[], float]] = {
            "parsing alone": lambda: seconds(lambda: _parse(bodies)),
            "parsing alone, json of the standard library": lambda: seconds(lambda: _parse(bodies, json.loads)),
            "parsing and inserting alone": lambda: fresh(lambda made: _insert(made, Path(place) / "bare.db")),
            "API, one caller": lambda: fresh(lambda made: _send(made, port)),
            f"API, {_CALLERS} callers": lambda: fresh(lambda made: _send_together(made, port)),
            "client": lambda: seconds(lambda: _call(count, port, Path(place))),
        }
        figures = medians(actions, options.runs)
    alone, least = figures["parsing alone"], figures["parsing and inserting alone"]
    for name, took in figures.items():
        result.rows.append([name, duration(took), number(count / took), ratio(alone / took), ratio(least / took)])
    for name in ("API, one caller", "client"):
        share = alone / figures[name]
        why = None if share >= AIM else _WHY
        result.aims.append(Aim(f"{name}: at least {AIM} of parsing alone", ratio(share), share >= AIM, why))
    return result


_WHY = (
    "The same rows take longer to be inserted than to be parsed, also without a service: see the third line. "
    "What the service adds to that is checks, redaction, ids, rollups, HTTP, and a wait for the disk at each request."
)


def _bodies(count: int, serial: int) -> list[bytes]:
    rows = [json.dumps(_row(number, serial)).encode() for number in range(count)]
    return [b"\n".join(rows[start : start + _ROWS]) for start in range(0, count, _ROWS)]


def _row(place: int, serial: int) -> dict[str, Any]:
    return {
        "tool_name": f"tool_{place % 20}",
        "success": place % 50 != 0,
        "duration_ms": 20.0 + (place * 7919 % 1000) / 10,
        "error": "ValueError: no such customer" if place % 50 == 0 else None,
        "parameters": {"customer": place, "query": "latest invoices"},
        "result": None if place % 50 == 0 else {"found": place % 7},
        "executed_at": (_BEGAN + timedelta(milliseconds=72 * place)).isoformat(),
        "version_number": 3,
        "execution_id": f"{serial:08x}{place:024x}",
    }


def _parse(bodies: list[bytes], parse: Callable[[bytes], Any] = from_json) -> list[Any]:
    return [[parse(line) for line in body.split(b"\n")] for body in bodies]


def _insert(bodies: list[bytes], file: Path) -> None:
    """Parse each body and insert its rows into a plain table with a unique id, and commit."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        names = list(_row(0, 0))
        connection.execute(f"CREATE TABLE IF NOT EXISTS calls ({', '.join(names)}, UNIQUE (execution_id))")
        for body in bodies:
            rows = [from_json(line) for line in body.split(b"\n")]
            given = [tuple(json.dumps(v) if isinstance(v, dict) else v for v in row.values()) for row in rows]
            with connection:
                connection.executemany(f"INSERT INTO calls VALUES ({', '.join('?' * len(names))})", given)


def _send(bodies: list[bytes], port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        for body in bodies:
            connection.request("POST", _PATH, body, _LINES)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            assert (answer.status, said["stored"]) == (200, said["received"]), said


def _send_together(bodies: list[bytes], port: int) -> None:
    callers = [threading.Thread(target=_send, args=(bodies[place::_CALLERS], port)) for place in range(_CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def _call(count: int, port: int, folder: Path) -> None:
    with Client(f"http://127.0.0.1:{port}", folder=folder / "client", compress=False, buffer_size=2 * count) as client:

        @client.tool(name="tool", version=3)
        def tool(customer: int, query: str) -> dict[str, int]:
            return {"found": customer % 7, "of": len(query)}

        for place in range(count):
            tool(customer=place, query="latest invoices")
        client.flush()


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[int]:
    """Run a service in a process of its own, and yield its port."""
    (folder / "tools").mkdir()
    limits = "requests_per_minute = 1000000000\nrows_per_minute = 1000000000\n"
    (folder / "rollguard.toml").write_text(f'database = "sqlite:///rollguard.db"\n[service]\n{limits}')
    command = [sys.executable, "-m", "rollguard", "serve", "--port", "0", "--no-watch"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROLLGUARD_")}
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        try:
            yield next(
                int(found[1]) for line in process.stderr if (found := re.search(r"listening on .*:(\d+);", line))
            )
        finally:
            process.terminate()
            process.stderr.read()
