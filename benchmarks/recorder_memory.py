"""Memory at a steady 20,000 executions a second, also while the database is away, and what is lost.

A process of its own calls a no-op tool through `registry.call` at that rate, from two threads. The limit is 64 MiB
of memory beyond what the process had when it began; afterwards every call made must be a row of the database. In
the last case the PostgreSQL server is stopped when the calls begin and started again when they end.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any

from benchmarks.databases import Plain, Postgres, postgres
from benchmarks.harness import Aim, Options, Result, number

RATE = 20_000
LIMIT_MIB = 64
_THREADS = 2
_TICK = 0.01  # seconds between two bursts of calls
_CASES = ("SQLite", "PostgreSQL", "PostgreSQL away")


def run(options: Options) -> Result:
    """Measure."""
    length = 0.2 if options.tiny else 60.0 if options.full else 5.0
    rate = 500 if options.tiny else RATE
    result = Result(
        name="recorder_memory",
        title="Memory of the recorder",
        about=__doc__,
        columns=["", "calls", "calls/s", "memory before", "grown by, at most", "and after", "until all stored", "lost"],
        notes=[
            f"Calls were made for {length:g} seconds. Memory is the resident set, asked for every 50 ms.",
            "Grown by and lost are the worst of the runs; the rest is their median.",
            "A process that cannot keep the rate goes on as fast as it can.",
        ],
    )
    runs = 1 if options.full or options.tiny else options.runs
    if runs != options.runs:
        result.notes.append("Each case was run once: a minute of samples, not one figure.")
    with postgres() as server, tempfile.TemporaryDirectory(prefix="rg-bench-", ignore_cleanup_errors=True) as folder:
        result.machine = {"PostgreSQL": server.version}
        for case in _CASES:
            found = []
            for i in range(runs):
                url = f"sqlite:///{folder}/{i}.db" if case == "SQLite" else server.new_database()
                away = server if case.endswith("away") else None
                found.append(_one(url, Path(folder) / f"{case}-{i}", length, rate, away))
            _tell(result, case, found, rate)
    return result


def _tell(result: Result, case: str, found: list[dict[str, Any]], rate: int) -> None:
    def median(key: str) -> float:
        return statistics.median(float(one[key]) for one in found)

    grown, lost = max(one["grown"] for one in found), sum(one["lost"] for one in found)
    reached = median("rate")
    result.rows.append(
        [
            case,
            number(median("calls")),
            number(reached),
            f"{median('before'):.0f} MiB",
            f"{grown:.0f} MiB",
            f"{median('after'):.0f} MiB",
            f"{median('until_stored'):.1f} s",
            number(lost),
        ]
    )
    kept = Aim(f"{case}: {number(rate)} calls a second", number(reached), reached >= 0.98 * rate)
    kept.profile = None if kept.met else found[0]["profile"]
    result.aims += [
        kept,
        Aim(f"{case}: at most {LIMIT_MIB} MiB more memory", f"{grown:.0f} MiB", grown <= LIMIT_MIB),
        Aim(f"{case}: nothing lost", number(lost), lost == 0),
    ]


def _one(url: str, folder: Path, length: float, rate: int, away: Postgres | None) -> dict[str, Any]:
    """One process, watched from here: the database is stopped and started when the process says so."""
    command = [sys.executable, "-m", "benchmarks.recorder_memory", url, str(folder), str(length), str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _expect(process.stdout, "ready")
        if away is not None:
            away.server.stop()
        _go_on(process.stdin)
        _expect(process.stdout, "called")
        if away is not None:
            away.server.start()
        _go_on(process.stdin)
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        process.stdin.close() if process.stdin else None
    plain = Plain(url)
    found["lost"] = found["calls"] - int(
        plain.ask("SELECT COUNT(*) FROM tool_executions WHERE tool_name = 'noop'")[0][0]
    )
    plain.close()
    return found


def _expect(source: IO[str] | None, word: str) -> None:
    line = source.readline().strip() if source else ""
    if line != word:
        raise RuntimeError(f"the recording process said {line!r}, not {word!r}")


def _go_on(sink: IO[str] | None) -> None:
    assert sink is not None
    sink.write("go\n")
    sink.flush()


# --- the recording process -------------------------------------------------------------------------------------------


def record(url: str, folder: Path, length: float, rate: int) -> dict[str, Any]:
    """Call the tool at the rate and watch this process's memory until everything is stored."""
    from rollguard import ExecutionStore, ToolRegistry
    from rollguard.errors import StoreUnavailable

    logging.disable(logging.ERROR)  # that the database is away is meant
    store = ExecutionStore(url)
    registry = ToolRegistry(folder, store=store)
    registry.deploy("noop", "def noop():\n    return None\n")
    registry.deploy("warm", "def warm():\n    return None\n")
    time.sleep(min(2.2, length))  # until the file's stamp is settled
    for _ in range(200):
        registry.call("warm")
    registry.recorder.flush()
    registry.call("noop")
    registry.recorder.flush()
    gc.collect()
    before, samples, over = _resident_mib(), [], threading.Event()

    def sample() -> None:
        while not over.wait(0.05):
            samples.append(_resident_mib())

    sampler = threading.Thread(target=sample)
    sampler.start()
    _say("ready")
    sys.stdin.readline()
    made = [0] * _THREADS
    began = time.monotonic()
    callers = [
        threading.Thread(target=_call, args=(registry, made, i, began + length, rate / _THREADS))
        for i in range(_THREADS)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    took = time.monotonic() - began
    _say("called")
    sys.stdin.readline()
    began = time.monotonic()
    deadline = began + max(60.0, 10 * length)
    while time.monotonic() < deadline:  # the server may still be starting
        with contextlib.suppress(StoreUnavailable):
            if registry.recorder.flush() == 0 and store.executions.tool_names():
                break
        time.sleep(0.05)
    stored = time.monotonic() - began
    over.set()
    sampler.join()
    calls = sum(made)
    return {
        "calls": calls + 1,
        "rate": calls / took,
        "before": before,
        "grown": max(samples, default=before) - before,
        "after": _resident_mib() - before,
        "until_stored": stored,
        "profile": None if calls >= 0.98 * rate * length else _why(registry),
    }


def _call(registry: Any, made: list[int], me: int, end: float, rate: float) -> None:
    began = time.monotonic()
    calls = 0
    while (now := time.monotonic()) < end:
        due = int((now - began) * rate) - calls
        for _ in range(min(due, 1_000)):
            registry.call("noop")
            calls += 1
            if time.monotonic() >= end:
                break
        made[me] = calls
        if due <= 0 or (time.monotonic() - began) * rate - calls < 1:
            time.sleep(_TICK)
    made[me] = calls


def _why(registry: Any) -> str:
    from benchmarks.harness import profile

    return profile(lambda: [registry.call("warm") for _ in range(500)])


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("length", type=float)
    parser.add_argument("rate", type=int)
    given = parser.parse_args()
    print(json.dumps(record(given.url, given.folder, given.length, given.rate)), flush=True)
    sys.stdin.read()
    os._exit(0)  # everything is stored; what atexit would do is not measured
