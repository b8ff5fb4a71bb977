"""One run of the health stage over many active sessions: each is checked, judged, recorded, and acted upon.

Every session is of a tool of its own, with 20 to 400 executions before its deployment and 20 since, all of them
healthy, so that the whole cycle is checking. The first cycle of a new process counts and keeps every baseline and
judges it for the first time; the usual one finds them kept. The limit is 3 s for 10,000 sessions; how it grows is
given per session.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, seconds, versions
from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.judge import evidence as evidence_module
from rollguard.loop.stages import HealthStage

LIMIT = 3.0
_TOO_LONG = 5.0  # seconds after which a cycle is measured once, not again and again
_DEPLOYED = datetime(2026, 3, 8, 9, 41, 17, 250_000, tzinfo=UTC)
_NOW = _DEPLOYED + timedelta(hours=20)


def run(options: Options) -> Result:
    """Measure."""
    sizes = [3, 6] if options.tiny else [100, 1_000, 10_000]
    result = Result(
        name="many_sessions",
        title="One cycle over many sessions",
        about=__doc__,
        columns=["", "a cycle", "per session", "first cycle", "per session"],
        notes=[versions("psycopg", "SQLAlchemy")],
    )
    with urls(*DATABASES) as (make, servers):
        result.machine = servers
        for kind in DATABASES:
            for size in sizes:
                usual, first, lines = _measure(make(kind), size, options)
                times = [duration(usual), duration(usual / size), duration(first), duration(first / size)]
                result.rows.append([f"{kind}: {number(size)} sessions", *times])
                if size == sizes[-1]:
                    aim = Aim(f"{kind}: {number(size)} sessions in under {LIMIT:.0f} s", duration(usual), usual < LIMIT)
                    aim.profile = None if aim.met else lines
                    result.aims.append(aim)
                if max(usual, first) > _TOO_LONG:
                    result.notes.append(f"{kind}, {number(size)} sessions: measured once, for it takes so long.")
    return result


def _measure(url: str, size: int, options: Options) -> tuple[float, float, str | None]:
    """Seconds of a usual cycle and of a first one, and the profile of one that is too slow."""
    plain = Plain(url)
    with ExecutionStore(url) as store, tempfile.TemporaryDirectory(prefix="rg-bench-") as folder:
        monitor = DeploymentMonitor(execution_store=store, tool_registry=ToolRegistry(Path(folder), store=store))
        _fill(plain, size)

        stage = HealthStage(monitor)

        def cycle() -> None:
            counts = stage.run(_NOW)
            assert (counts["checks"], counts["errors"]) == (size, 0), counts

        def first() -> float:
            plain.execute("UPDATE deployment_monitoring SET baseline = NULL, left_out = NULL, earlier_versions = NULL")
            plain.execute("DELETE FROM deployment_health_checks")
            plain.settle()
            evidence_module._levels.cache_clear()
            return seconds(cycle)

        store.fold()
        plain.settle()
        firsts = [first()]
        usuals = [seconds(cycle)]
        if max(*firsts, *usuals) > _TOO_LONG:
            figures = {"usual": usuals[0], "first": firsts[0]}
        else:
            figures = medians({"first": first, "usual": lambda: seconds(cycle)}, options.runs)
        lines = profile(cycle) if figures["usual"] >= LIMIT else None
        assert plain.ask("SELECT COUNT(*) FROM deployment_health_checks WHERE verdict <> 'healthy'")[0][0] == 0
    plain.close()
    return figures["usual"], figures["first"], lines


def _fill(plain: Plain, size: int) -> None:
    """Sessions 0 to `size`, and the executions of their tools, made by the database itself."""
    sqlite = plain.sqlite is not None
    tools = _numbers("k", size, sqlite=sqlite)
    calls = _numbers("i", 420, sqlite=sqlite)
    pad = "printf('tool_%05d', k)" if sqlite else "'tool_' || lpad(k::text, 5, '0')"
    plain.execute(
        "INSERT INTO deployment_monitoring (tool_name, deployment_time, monitoring_started_at, version_number) "
        f"SELECT {pad}, '{_text(_DEPLOYED)}', '{_text(_DEPLOYED)}', 2 FROM {tools}"
    )
    before = "(20 + k * 7919 % 381)"  # executions before the deployment; the 20 after them are those since it
    week, hours = 7 * 86_400 - 60, 19 * 3_600
    after = (
        f"CASE WHEN i < {before} THEN i * {week}.0 / {before} ELSE {week + 60} + (i - {before}) * {hours}.0 / 20 END"
    )
    start = (_DEPLOYED - timedelta(days=7)).timestamp() + 30
    moment = (
        f"strftime('%Y-%m-%d %H:%M:%f000', {start} + {after}, 'unixepoch')"
        if sqlite
        else f"to_timestamp({start} + {after})"
    )
    values = (
        f"{pad}, CASE WHEN i < {before} THEN 1 ELSE 2 END, (i + k) % (15 + k % 40) <> 0, 10 + i * 37 % 100, {moment}"
    )
    plain.execute(
        "INSERT INTO tool_executions (tool_name, version_number, success, duration_ms, executed_at) "
        f"SELECT {values} FROM {tools} CROSS JOIN {calls} WHERE i < {before} + 20"
    )


def _numbers(name: str, count: int, *, sqlite: bool) -> str:
    if not sqlite:
        return f"generate_series(0, {count - 1}) AS {name}"
    following = f"SELECT {name} + 1 FROM of_{name} WHERE {name} + 1 < {count}"
    return f"(WITH RECURSIVE of_{name}({name}) AS (SELECT 0 UNION ALL {following}) SELECT {name} FROM of_{name})"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
