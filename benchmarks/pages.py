"""How long each page of the service takes, with 1,000 monitored tools and the rollups of 10,000,000 executions.

Each tool has three versions, a session with 20 checks and its rollups of a week; one in twenty was rolled back, and the
latest 100,000 executions are there as rows. A page is read 20 times, with `--full` 100 times, of another tool each time
where it is about one; the figure is the 99th percentile of the times from the request to the whole answer, in this
process; of 20 reads that is the slowest. Cold is the first time that a page is read after the service has started, with
what is compiled for it. The limits are 100 ms, and 300 ms cold. Before each read of the overview a call is recorded, so
that the calls are counted again. The last columns are the processor's time, of the cold read and of the median one,
which other work on the machine changes less; they have the same limits.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, number, profile, versions
from benchmarks.many_sessions import _numbers, _text
from benchmarks.opportunities import fill as fill_rollups
from rollguard import ExecutionStore, Rollguard
from rollguard.judge import Rules, Window, judge
from rollguard.settings import Settings

WARM, COLD = 0.1, 0.3
_READS, _FEW_READS = 100, 20
ADDRESSES = {
    "overview": "/",
    "overview, by name": "/?search={tool}",
    "tool": "/tool?name={tool}",
    "tool, 24 hours": "/tool?name={tool}&range=24h",
    "tool, 30 days": "/tool?name={tool}&range=30d",
    "session": "/sessions/{session}",
    "sessions": "/sessions",
    "diff": "/diff?name={tool}&to=3",
    "rollbacks": "/rollbacks",
    "proposals": "/proposals",
    "calls": "/calls?name={tool}&failed=true",
}


def run(options: Options) -> Result:
    """Measure."""
    tools, reads = (5, 3) if options.tiny else (1_000, _READS if options.full else _FEW_READS)
    result = Result(
        name="pages",
        title="The pages",
        about=__doc__ or "",
        columns=["", "cold", "median", "p99", "processor, cold", "processor"],
        notes=[versions("fastapi", "Jinja2", "psycopg", "SQLAlchemy")],
    )
    with urls(*DATABASES) as (make, servers):
        result.machine = servers
        for kind in DATABASES:
            url = make(kind)
            fill(url, tools)
            cold = {page: _cold(url, address) for page, address in ADDRESSES.items()}
            with _Reader(url) as reader:
                warm = {page: _p99_of(reader, address, tools, reads) for page, address in ADDRESSES.items()}
                for page, times in warm.items():
                    shown = (cold[page][0], *times[:2], cold[page][1], times[2])
                    result.rows.append([f"{kind}: {page}", *map(duration, shown)])
                slowest = max(warm, key=lambda page: warm[page][1])
                p99, first = warm[slowest][1], max(taken for taken, _used in cold.values())
                aim = Aim(
                    f"{kind}, {number(tools)} tools: p99 of each page within 100 ms, 300 ms cold",
                    f"{duration(p99)} ({slowest}), {duration(first)} cold",
                    p99 <= WARM and first <= COLD,
                )
                aim.profile = None if aim.met else profile(lambda: reader.read(ADDRESSES[slowest], 3))  # noqa: B023
                used = max(times[2] for times in warm.values()), max(used for _taken, used in cold.values())
                result.aims += [
                    aim,
                    Aim(
                        f"{kind}, {number(tools)} tools: the processor's time of each page within 100 ms, 300 ms cold",
                        f"{duration(used[0])}, {duration(used[1])} cold",
                        used[0] <= WARM and used[1] <= COLD,
                    ),
                ]
    return result


def _p99_of(reader: _Reader, address: str, tools: int, reads: int) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of the times that a page takes, and the median of the processor's."""
    times, used = [], []
    reader.read(address, tools - 1)  # the first one is cold
    for place in range(reads):
        if address.partition("?")[0] == "/":
            reader.record(place * 7 % tools)
        began = time.process_time()
        times.append(reader.read(address, place * 7 % tools))
        used.append(time.process_time() - began)
    times.sort()
    return times[reads // 2], times[min(reads - 1, int(0.99 * reads))], sorted(used)[reads // 2]


class _Reader:
    """Reads pages of a service in this process."""

    def __init__(self, url: str) -> None:
        from rollguard.service.app import create_app, make_routes
        from rollguard.service.serve import freeze_what_is_loaded

        self._folder = tempfile.TemporaryDirectory(prefix="rg-bench-")
        self._guard = Rollguard(Settings(database=url, tools_dir=Path(self._folder.name)), adopt=False)
        self._app = create_app(self._guard, open_to_this_machine=True, watch=False)
        make_routes(self._app)
        freeze_what_is_loaded()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.close()
        self._guard.store.close()
        self._folder.cleanup()

    def record(self, place: int) -> None:
        """Record a call, so that there is something new."""
        self._guard.store.store_tool_execution(tool_name=f"tool_{place:05d}", success=True, duration_ms=1.0)

    def read(self, address: str, place: int) -> float:
        """Read a page, and return how long it took."""
        path, _, query = address.format(tool=f"tool_{place:05d}", session=place + 1).partition("?")
        began = time.perf_counter()
        status = self._loop.run_until_complete(self._answer(path, query))
        taken = time.perf_counter() - began
        assert status == 200, (path, query, status)
        return taken

    async def _answer(self, path: str, query: str) -> int:
        found: list[dict[str, Any]] = []
        scope = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"},
            **{"path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": ""},
            **{"headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)},
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            found.append(message)

        await self._app(scope, receive, send)  # type: ignore[arg-type]
        return int(found[0]["status"])


def _cold(url: str, address: str) -> tuple[float, float]:
    """Return how long a page takes that is read first after the service has started, and the processor's time."""
    from rollguard.service.pages import render

    render._environment.cache_clear()
    with _Reader(url) as reader:
        began = time.process_time()
        return reader.read(address, 2), time.process_time() - began


# --- a large store ---------------------------------------------------------------------------------------------------


def fill(url: str, tools: int) -> None:
    now = datetime.now(UTC)
    with ExecutionStore(url):
        plain = Plain(url)
        sqlite = plain.sqlite is not None
        histogram = '{"100": 40, "120": 18, "160": 2}' if sqlite else "{{100,120,160},{40,18,2}}"
        fill_rollups(plain, tools, now, version=3, histogram=histogram)
        for statement in statements(now, tools, sqlite=sqlite):
            plain.execute(statement)
        plain.settle()
        plain.close()


def statements(now: datetime, tools: int, *, sqlite: bool) -> Iterator[str]:
    """Return what fills a store, except for the rollups."""
    name = "printf('tool_%05d', k)" if sqlite else "'tool_' || lpad(k::text, 5, '0')"
    each, three, twenty = (_numbers(*of, sqlite=sqlite) for of in (("k", tools), ("v", 3), ("i", 20)))
    code = "CAST('def t(x): return ' || v AS BLOB)" if sqlite else "convert_to('def t(x): return ' || v, 'UTF8')"
    deployed, before = _text(now - timedelta(hours=20)), _text(now - timedelta(days=7))
    yield (
        "INSERT INTO tool_versions (tool_name, version_number, code, sha256, kind, created_by, reason, created_at) "
        f"SELECT {name}, v + 1, {code}, {name} || v, 'improvement', 'improver', 'better', '{before}' "
        f"FROM {each} CROSS JOIN {three}"
    )
    ended = f"CASE WHEN v < 2 THEN '{deployed}' END"
    times = "" if sqlite else "::timestamptz"
    yield (
        "INSERT INTO tool_deployments (tool_name, version_number, deployed_at, deployed_by, ended_at, ended_by, kind) "
        f"SELECT {name}, v + 1, (CASE WHEN v = 2 THEN '{deployed}' ELSE '{before}' END){times}, 'improver', "
        f"({ended}){times}, CASE WHEN v < 2 THEN 'deployment' END, 'deployment' FROM {each} CROSS JOIN {three}"
    )
    yield (
        "INSERT INTO deployment_monitoring (tool_name, deployment_time, monitoring_started_at, version_number) "
        f"SELECT {name}, '{deployed}', '{deployed}', 3 FROM {each}"
    )
    judged = judge(Window(9_000, 8_900), Window(1_000, 985), Rules(), scheduled=True)
    record, reasons = (json.dumps(one).replace("'", "''") for one in (judged.record(), list(judged.reasons)))
    moment = _moment((now - timedelta(hours=20)).timestamp(), "i * 3600 + 60", sqlite=sqlite)
    yield (
        "INSERT INTO deployment_health_checks (tool_name, session_id, checked_at, baseline_success_rate, "
        "baseline_total_executions, current_success_rate, current_total_executions, success_rate_drop, verdict, "
        "reasons, record, baseline_p50_ms, baseline_p95_ms) "
        f"SELECT {name}, k + 1, {moment}, 0.989, 9000, 0.985, 50 * (i + 1), 0.004, 'healthy', '{reasons}', "
        f"'{record}', 20, 60 FROM {each} CROSS JOIN {twenty}"
    )
    found = json.dumps({"signatures": [], "causes": [], "failures_before": 3, "failures_since": 9, "incomplete": None})
    yield (
        "INSERT INTO deployment_rollbacks (tool_name, rollback_time, reason, success_rate_drop, regression_severity, "
        "rollback_successful, from_version, to_version, requested_by, investigation) "
        f"SELECT {name}, {moment}, '9 of 30 calls failed', 0.3, 'critical', TRUE, 2, 1, 'rollguard', '{found}' "
        f"FROM {each} CROSS JOIN {twenty} WHERE k % 20 = 0 AND i = 7"
    )
    hundred = _numbers("i", 100, sqlite=sqlite)
    at = _moment((now - timedelta(hours=10)).timestamp(), "i * 300", sqlite=sqlite)
    yield (
        "INSERT INTO tool_executions (tool_name, version_number, success, duration_ms, error_type, error, parameters, "
        f"executed_at) SELECT {name}, 3, i % 9 <> 0, 12.5, CASE WHEN i % 9 = 0 THEN 'KeyError' END, "
        f"CASE WHEN i % 9 = 0 THEN 'KeyError: ' || i END, '{{\"query\": 1}}', {at} FROM {each} CROSS JOIN {hundred}"
    )
    if sqlite:  # they are in the rollups
        yield "UPDATE rollup_state SET rolled_to = (SELECT MAX(id) FROM tool_executions)"
    else:
        yield "DELETE FROM tool_execution_deltas"


def _moment(start: float, seconds: str, *, sqlite: bool) -> str:
    if sqlite:
        return f"strftime('%Y-%m-%d %H:%M:%f000', {start} + {seconds}, 'unixepoch')"
    return f"to_timestamp({start} + {seconds})"
