"""Two services on one PostgreSQL, killed under load: what was acknowledged is stored, and nothing twice."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from tests.postgres import PostgresServer
from tests.service.conftest import row

ROWS, ROUNDS, CALLERS = 50, 6, 4


class Replica:
    """A service as a process, that starts again on its port after it was killed."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "tools").mkdir(parents=True)
        (folder / "rollguard.toml").write_text(f'database = "{url}"\n[record]\nretention_days = 0\n')
        self._folder, self.port = folder, 0
        self.start()

    def start(self) -> None:
        """Start, and wait until it listens."""
        command = [sys.executable, "-m", "rollguard", "serve", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=self._folder, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.port = _port(self.process.stderr)
        self._log = threading.Thread(target=_read_whole, args=(self.process.stderr,), daemon=True)
        self._log.start()

    def strike(self) -> None:
        """Kill it, as a loss of power would, and start it again."""
        self.process.kill()
        self.ended()
        self.start()

    def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        self._log.join()
        return self.process.wait()


def _read_whole(log: IO[str]) -> None:
    with log:
        for _line in log:
            pass


def _port(log: IO[str]) -> int:
    for line in log:
        if found := re.search(r"listening on .*:(\d+);", line):
            return int(found[1])
    raise AssertionError("it did not start")


class Caller(threading.Thread):
    """Sends rows to the replicas in turn, each batch until it is acknowledged; some batches twice."""

    def __init__(self, number: int, replicas: list[Replica], over: threading.Event) -> None:
        super().__init__()
        self._number, self._replicas, self._over = number, replicas, over
        self.acknowledged: set[str] = set()
        self.sent: dict[str, bool] = {}
        self.failures = 0

    def run(self) -> None:
        """Send until the test is over, then until the last batch is acknowledged."""
        chance = random.Random(self._number)
        with httpx2.Client(timeout=30.0) as client:
            for batch in itertools.count():
                ids = [f"{self._number}-{batch}-{place}" for place in range(ROWS)]
                rows = [row(0, execution_id=own, success=chance.random() < 0.8) for own in ids]
                self.sent |= {one["execution_id"]: one["success"] for one in rows}
                while not self._send(client, rows, chance):
                    self.failures += 1
                if chance.random() < 0.3:
                    self._send(client, rows, chance)  # as a client that lost the answer
                self.acknowledged |= set(ids)
                if self._over.is_set():
                    return

    def _send(self, client: httpx2.Client, rows: list[dict[str, Any]], chance: random.Random) -> bool:
        port = chance.choice(self._replicas).port
        try:
            answer = client.post(f"http://127.0.0.1:{port}/api/v1/executions", content=json.dumps(rows), headers=JSON)
        except httpx2.HTTPError:
            return False
        return answer.is_success and not answer.json()["refused"]


JSON = {"content-type": "application/json"}


@pytest.mark.long
def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice(postgres: PostgresServer, tmp_path: Path) -> None:
    """Replicas are killed again and again under load. Every acknowledged row is stored once, as it was sent first."""
    url = postgres.new_database()
    replicas = [Replica(tmp_path / str(number), url) for number in range(2)]
    over = threading.Event()
    callers = [Caller(number, replicas, over) for number in range(CALLERS)]
    try:
        for caller in callers:
            caller.start()
        for strike in range(ROUNDS):
            wanted = sum(len(caller.acknowledged) for caller in callers) + 3 * ROWS
            while sum(len(caller.acknowledged) for caller in callers) < wanted:
                callers[0].join(0.05)
            replicas[strike % 2].strike()
        over.set()
        for caller in callers:
            caller.join()
    finally:
        over.set()
        for replica in replicas:
            replica.process.send_signal(signal.SIGTERM)
    assert [replica.ended() for replica in replicas] == [0, 0]
    acknowledged = set().union(*(caller.acknowledged for caller in callers))
    sent = {name: success for caller in callers for name, success in caller.sent.items()}
    with ExecutionStore(url) as store, store.database.read() as connection:
        stored = connection.execute(sa.text("SELECT execution_id, success FROM tool_executions")).all()
    assert len(stored) == len({one.execution_id for one in stored})
    assert {one.execution_id for one in stored} >= acknowledged
    assert all(sent[one.execution_id] == one.success for one in stored)
    assert sum(caller.failures for caller in callers) > 0
