"""Which of 1,000 tools are weak, from the rollups of 10,000,000 executions: `find_opportunities`, every tool at once.

The rollups of 7 days, by the hour and for every twelfth minute, are inserted in bulk, as if the executions had been
counted: each tool is called about 60 times an hour, one in ten fails often, and one in a hundred got a new error. The
limit is a second.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from benchmarks.databases import DATABASES, Plain, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, seconds, versions
from benchmarks.many_sessions import _numbers, _text
from rollguard import ExecutionStore
from rollguard.investigate import find_opportunities

LIMIT = 1.0
NOW = datetime(2026, 3, 8, 9, 41, tzinfo=UTC)
_HOURS, _AN_HOUR = 168, 60


def run(options: Options) -> Result:
    """Measure."""
    tools = 5 if options.tiny else 1_000
    result = Result(
        name="opportunities",
        title="Weak tools",
        about=__doc__ or "",
        columns=["", "executions", "rollups", "time", "found"],
        notes=[versions("psycopg", "SQLAlchemy")],
    )
    with urls(*DATABASES) as (make, servers):
        result.machine = servers
        for kind in DATABASES:
            with ExecutionStore(url := make(kind)) as store:
                plain = Plain(url)
                fill(plain, tools)
                plain.settle()
                ((rows, calls),) = plain.ask(
                    "SELECT COUNT(*), SUM(CASE WHEN width = 3600 THEN executions END) FROM tool_execution_rollups"
                )

                def find(store: ExecutionStore = store) -> None:
                    find_opportunities(store, now=NOW)

                taken = medians({"find": lambda find=find: seconds(find)}, options.runs)["find"]  # type: ignore[misc]
                found = len(find_opportunities(store, now=NOW))
                label = f"{kind}: {number(tools)} tools"
                result.rows.append([label, number(calls), number(rows), duration(taken), number(found)])
                aim = Aim(f"{label} in under {LIMIT:.0f} s", duration(taken), taken < LIMIT)
                aim.profile = None if aim.met else profile(find)
                result.aims.append(aim)
                plain.close()
    return result


def fill(
    plain: Plain, tools: int, now: datetime = NOW, *, version: int = 0, histogram: str = "{}", weak: bool = True
) -> None:
    """Insert rollups of each hour, and of each twelfth minute, made by the database itself."""
    sqlite = plain.sqlite is not None
    name = "printf('tool_%05d', k)" if sqlite else "'tool_' || lpad(k::text, 5, '0')"
    begin = (now - timedelta(hours=_HOURS)).replace(minute=0)
    plain.execute(
        f"INSERT INTO tool_version_starts (tool_name, version_number, first_hour) "
        f"SELECT {name}, {version}, '{_text(begin)}' FROM {_numbers('k', tools, sqlite=sqlite)}"
    )
    for width, parts in ((3600, _HOURS), (60, _HOURS * 5)):
        step = width if width == 3600 else 720
        moment = (
            f"strftime('%Y-%m-%d %H:%M:%f000', {begin.timestamp()} + i * {step}, 'unixepoch')"
            if sqlite
            else f"to_timestamp({begin.timestamp()} + i * {step})"
        )
        calls = _AN_HOUR if width == 3600 else 12
        failed = f"CASE WHEN k % 10 = 0 THEN {calls // 2} ELSE 1 END"
        kinds: tuple[tuple[str, str, str, str], ...] = (
            ("''", str(calls), str(calls), "TRUE"),
            ("'ValueError'", failed, "0", "k % 10 = 0 OR i % 12 = 0"),
            ("'KeyError'", "2", "0", f"k % 100 = 1 AND i >= {parts - parts // 7}"),
        )
        if not weak:
            kinds = kinds[:1]
        for error, executions, successes, where in kinds:
            plain.execute(
                "INSERT INTO tool_execution_rollups (tool_name, width, start_at, version_number, error_type, "
                "executions, successes, timed, duration_sum_ms, histogram) "
                f"SELECT {name}, {width}, {moment}, {version}, {error}, {executions}, {successes}, {executions}, 20.0, "
                f"'{histogram}' "
                f"FROM {_numbers('k', tools, sqlite=sqlite)} "
                f"CROSS JOIN {_numbers('i', parts, sqlite=sqlite)} WHERE {where}"
            )
