"""A backtest over a year of many tools, and one decision: how long they take, and how much memory.

Each tool has twelve deployments, 30 days apart, each watched for a day with calls in every fifth minute, and a baseline
of a week. Only the rollups are there, as after a year, written by the database itself. One in ten deployments is bad.
The candidate is the evidence rule with an alpha of 0.01. Aims are at most 20 ms and 100 KiB for each deployment.
The last row is one judgement of two windows, with all that it keeps.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, seconds, versions
from rollguard import ExecutionStore
from rollguard.evaluate.backtest import backtest, summary
from rollguard.judge import Rules, Window, judge
from rollguard.judge import evidence as evidence_module

TIME_LIMIT, MEMORY_LIMIT = 20e-3, 100 * 1024  # of each deployment
_DEPLOYMENTS = 12
_TOO_LONG = 20.0  # seconds after which it is measured once
_FIRST = datetime(2025, 1, 15, 9, tzinfo=UTC)
_NOW = _FIRST + timedelta(days=400)
_EVERY = timedelta(minutes=5)
_CANDIDATE = Rules(decision="evidence", alpha=0.01)


def run(options: Options) -> Result:
    """Measure."""
    sizes = [2] if options.tiny else [10, 50, *([1_000] if options.full else [])]
    result = Result(
        name="backtest",
        title="A backtest",
        about=__doc__,
        columns=["", "deployments", "time", "per deployment", "peak memory", "per deployment"],
        notes=[versions("psycopg", "SQLAlchemy")],
    )
    with urls(*DATABASES) as (make, servers):
        result.machine = servers
        for kind in DATABASES:
            for size in sizes:
                _measure(result, kind, make(kind), size, options, last=size == sizes[-1])
    taken, memory = _one_decision(options)
    result.rows.append(["one decision", "–", duration(taken), "–", _bytes(memory), "–"])
    return result


def _measure(result: Result, kind: str, url: str, tools: int, options: Options, *, last: bool) -> None:
    plain = Plain(url)
    count = tools * _DEPLOYMENTS
    with ExecutionStore(url) as store:
        _fill(plain, tools)
        plain.settle()

        def whole() -> None:
            found = backtest(store, lambda _tool: _CANDIDATE, every=_EVERY, now=_NOW)
            assert len(found) == count
            assert summary(found)["added"] >= count // 20

        def cold() -> float:
            evidence_module._levels.cache_clear()
            return seconds(whole)

        before = _resident(peak=False)
        first = cold()
        memory = max(0, _resident(peak=True) - before)
        taken = first if first > _TOO_LONG else medians({"taken": cold}, options.runs)["taken"]
        each = [duration(taken / count), _bytes(memory), _bytes(memory / count)]
        result.rows.append([f"{kind}: {number(tools)} tools", number(count), duration(taken), *each])
        if last:
            aims = [
                Aim(f"{kind}: at most 20 ms a deployment", duration(taken / count), taken / count <= TIME_LIMIT),
                Aim(f"{kind}: at most 100 KiB a deployment", _bytes(memory / count), memory / count <= MEMORY_LIMIT),
            ]
            for aim in aims:
                aim.profile = None if aim.met else profile(whole)
            result.aims += aims
        if first > _TOO_LONG:
            result.notes.append(f"{kind}, {number(tools)} tools: measured once, for it takes so long.")
    plain.close()


def _one_decision(options: Options) -> tuple[float, int]:
    """Seconds of one judgement whose baseline was not judged before, and the bytes that it takes at most."""
    decide: Callable[[], object] = partial(judge, Window(10_000, 9_500), Window(1_000, 930), _CANDIDATE)

    def cold() -> float:
        evidence_module._levels.cache_clear()
        return seconds(decide)

    taken = medians({"taken": cold}, options.runs)["taken"]
    evidence_module._levels.cache_clear()
    tracemalloc.start()
    try:
        decide()
        return taken, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _fill(plain: Plain, tools: int) -> None:
    """The sessions, all of them completed, and the rollups of their baselines and watches."""
    sqlite = plain.sqlite is not None
    names = _numbers("k", 0, tools, sqlite=sqlite)
    deployments = _numbers("d", 1, _DEPLOYMENTS + 1, sqlite=sqlite)
    name = "printf('tool_%05d', k)" if sqlite else "'tool_' || lpad(k::text, 5, '0')"

    def at(seconds_after: str) -> str:
        moment = f"{int(_FIRST.timestamp())} + d * {30 * 86_400} + {seconds_after}"
        return f"strftime('%Y-%m-%d %H:%M:%f000', {moment}, 'unixepoch')" if sqlite else f"to_timestamp({moment})"

    plain.execute(
        "INSERT INTO deployment_monitoring (tool_name, deployment_time, monitoring_started_at, version_number, status, "
        f"completed_at, outcome) SELECT {name}, {at('0')}, {at('0')}, d, 'completed', {at('86400')}, 'healthy' "
        f"FROM {names} CROSS JOIN {deployments} ORDER BY d, k"
    )
    plain.execute(
        "INSERT INTO tool_version_starts (tool_name, version_number, first_hour) "
        f"SELECT {name}, d, {at('0')} FROM {names} CROSS JOIN {deployments}"
    )
    bad = "(k + d) % 10 = 0"
    for width, first, end, step, version, executions, successes in (
        (3600, -7 * 24, 0, 3600, "d - 1", 20, "19"),
        (3600, 0, 24, 3600, "d", 24, f"CASE WHEN {bad} THEN 12 ELSE 23 END"),
        (60, 0, 288, 300, "d", 2, f"CASE WHEN {bad} OR i % 10 = 0 THEN 1 ELSE 2 END"),
    ):
        histogram = f"""'{{"180":{executions}}}'""" if sqlite else f"ARRAY[ARRAY[180], ARRAY[{executions}]]"
        plain.execute(
            "INSERT INTO tool_execution_rollups (tool_name, width, start_at, version_number, error_type, executions, "
            "successes, timed, duration_sum_ms, histogram) "
            f"SELECT {name}, {width}, {at(f'i * {step}')}, {version}, '', "
            f"{executions}, {successes}, {executions}, 100.0, {histogram} FROM {names} CROSS JOIN {deployments} "
            f"CROSS JOIN {_numbers('i', first, end, sqlite=sqlite)}"
        )


def _numbers(name: str, first: int, end: int, *, sqlite: bool) -> str:
    if not sqlite:
        return f"generate_series({first}, {end - 1}) AS {name}"
    following = f"SELECT {name} + 1 FROM of_{name} WHERE {name} + 1 < {end}"
    return f"(WITH RECURSIVE of_{name}({name}) AS (SELECT {first} UNION ALL {following}) SELECT {name} FROM of_{name})"


def _resident(*, peak: bool) -> int:
    """Bytes of this process in memory: now, from where the peak is counted anew, or at the peak since."""
    if not peak:
        Path("/proc/self/clear_refs").write_text("5")
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(wanted))


def _bytes(value: float) -> str:
    for unit, size in (("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"
