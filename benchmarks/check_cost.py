"""One check, `monitor.check_health`, at a growing history of one tool, against the contract's two raw queries.

The raw queries are those of the contract: COUNT, COUNT ... FILTER and AVG over the rows of the baseline and of the
time since the deployment, on the same data, through the bare driver. A check does more: it counts the durations
into histograms, judges, and keeps the check as a row. The first check of a session counts its baseline too; every
later one finds it kept.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, ratio, seconds, versions
from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.judge import evidence as evidence_module

FLAT, CHEAPER = 1.5, 500
_DAYS = 8
_START = datetime(2026, 3, 1, 9, 41, 17, 250_000, tzinfo=UTC)  # inside a minute, as times are
_DEPLOYED = _START + timedelta(days=7)
_NOW = _START + timedelta(days=_DAYS)
_CHUNK = 1_000_000


def run(options: Options) -> Result:
    """Measure."""
    sizes = [200, 400] if options.tiny else [10**5, 10**6, *([10**7] if options.full else [])]
    result = Result(
        name="check_cost",
        title="One check",
        about=__doc__,
        columns=["", "raw queries", "a check", "cheaper by", "first check", "cheaper by"],
        notes=[
            f"Rows of one tool, spread evenly over {_DAYS} days, durations from 10 to 100 ms.",
            "The first check is timed with an empty memory of judgements, as in a new process.",
            versions("psycopg", "SQLAlchemy"),
        ],
    )
    with urls(*DATABASES) as (make, servers):
        result.machine = servers
        for kind, versioned in product(DATABASES, (True, False)):
            usual: dict[int, float] = {}
            cheaper, lines, which = 0.0, "", kind if versioned else f"{kind}, no version named"
            for size in sizes:
                raw, check, first, lines = _measure(make(kind), size, options, versioned=versioned)
                usual[size], cheaper = check, raw / check
                times = [duration(raw), duration(check), ratio(raw / check), duration(first), ratio(raw / first)]
                result.rows.append([f"{which}: {number(size)} rows", *times])
            growth, least, most = usual[sizes[-1]] / usual[sizes[0]], number(sizes[0]), number(sizes[-1])
            flat = Aim(f"{which}: {most} rows within {FLAT} times of {least}", ratio(growth), growth <= FLAT)
            aims = [flat]
            if sizes[-1] == 10**7:
                aims.append(Aim(f"{which}: {CHEAPER} times cheaper at {most} rows", ratio(cheaper), cheaper >= CHEAPER))
            if not all(aim.met for aim in aims):
                flat.profile = lines
            result.aims += aims
    return result


def _measure(url: str, size: int, options: Options, *, versioned: bool) -> tuple[float, float, float, str]:
    """Seconds of the raw queries, of a check, and of a first check; and the profile of a check."""
    plain = Plain(url)
    with ExecutionStore(url) as store, tempfile.TemporaryDirectory(prefix="rg-bench-") as folder:
        registry = ToolRegistry(Path(folder), store=store)
        for version, moment in ((1, _START - timedelta(days=1)), (2, _DEPLOYED)):
            registry.deploy("my_tool", f"def my_tool():\n    return {version}\n", deployed_at=moment)
        monitor = DeploymentMonitor(execution_store=store, tool_registry=registry)
        session_id = monitor.start_monitoring("my_tool", _DEPLOYED, now=_NOW)
        for start in range(0, size, _CHUNK):
            fill(plain, start, min(start + _CHUNK, size), size, versioned=versioned)
        plain.settle()

        def check() -> dict[str, object]:
            return monitor.check_health("my_tool", session_id, now=_NOW)

        def forget() -> None:
            plain.execute("UPDATE deployment_monitoring SET baseline = NULL")
            evidence_module._levels.cache_clear()

        def first() -> float:
            forget()
            return seconds(check)

        def usual() -> float:
            repeats = 20 if seconds(check) < 0.05 else 1
            return seconds(lambda: [check() for _ in range(repeats)]) / repeats

        check()  # folds
        plain.settle()
        queries = [_query(_START, _DEPLOYED, "<"), _query(_DEPLOYED, _NOW, "<=")]
        forget()
        report = check()
        found = [plain.ask(query)[0][:2] for query in queries]
        for (total, successes), window in zip(found, ("baseline", "current"), strict=True):
            counted = report[window]
            assert isinstance(counted, dict)
            assert (counted["total_executions"], counted["successes"]) == (total, successes)
        raw = partial(seconds, lambda: [plain.ask(query) for query in queries])
        figures = medians({"raw": raw, "first": first, "usual": usual}, options.runs)
        lines = profile(check)
    plain.close()
    return figures["raw"], figures["usual"], figures["first"], lines


def _query(start: datetime, end: datetime, until: str) -> str:
    return (
        "SELECT COUNT(*) AS total, COUNT(*) FILTER (WHERE success = TRUE) AS successes, "
        "AVG(duration_ms) AS avg_duration FROM tool_executions WHERE tool_name = 'my_tool' "
        f"AND executed_at >= '{_text(start)}' AND executed_at {until} '{_text(end)}'"
    )


def fill(plain: Plain, start: int, end: int, size: int, *, versioned: bool = True) -> None:
    """Insert rows `start` to `end` of `size`, made by the database itself."""
    step = timedelta(days=_DAYS).total_seconds() / size
    began = _START.timestamp()
    version = f"CASE WHEN {began} + i * {step!r} < {_DEPLOYED.timestamp()} THEN 1 ELSE 2 END" if versioned else "NULL"
    spread = "((i % 1000) * 7919 % 1000) / 1000.0"
    values = f"'my_tool', {version}, i % 20 <> 0, 10 + 90 * ({spread}) * ({spread})"
    columns = "tool_name, version_number, success, duration_ms, executed_at"
    if plain.sqlite is not None:
        plain.execute(
            f"INSERT INTO tool_executions ({columns}) "
            f"WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {end}) "
            f"SELECT {values}, strftime('%Y-%m-%d %H:%M:%f000', {began} + i * {step!r}, 'unixepoch') FROM n"
        )
    else:
        plain.execute(
            f"INSERT INTO tool_executions ({columns}) SELECT {values}, to_timestamp({began} + i * {step!r}) "
            f"FROM generate_series({start}, {end - 1}) AS i"
        )


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
