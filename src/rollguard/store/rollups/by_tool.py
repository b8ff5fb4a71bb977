"""What the calls of every tool came to lately, by one statement over the rollups of whole hours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from rollguard.judge import GIVEN_UP, UNCOUNTED
from rollguard.model.uses import Uses
from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime

_NO_FAILURES = ", ".join(f"'{name}'" for name in (*UNCOUNTED, GIVEN_UP))
# Tool by tool, because the rollups of minutes lie between those of hours. What was tried again is subtracted.
_TOOLS = """
WITH RECURSIVE tools (name) AS (
    SELECT MIN(tool_name) FROM tool_version_starts
    UNION ALL
    SELECT (SELECT MIN(x.tool_name) FROM tool_version_starts x WHERE x.tool_name > tools.name)
    FROM tools WHERE tools.name IS NOT NULL
)"""
_USES = f"""
{_TOOLS},
live AS (
    SELECT t.name, d.version_number, d.deployed_at
    FROM tools t LEFT JOIN tool_deployments d ON d.tool_name = t.name AND d.ended_at IS NULL WHERE t.name IS NOT NULL
),
counted AS (
    SELECT x.tool_name, x.start_at, x.version_number, x.error_type, x.executions, x.successes, x.timed,
        x.duration_sum_ms, l.version_number AS live_version, l.deployed_at
    FROM live l CROSS JOIN tool_execution_rollups x
    WHERE x.tool_name = l.name AND x.width = 3600 AND x.start_at >= :since
    UNION ALL
    SELECT s.tool_name, s.executed_at, COALESCE(s.version_number, 0),
        CASE WHEN s.success THEN '' ELSE COALESCE(s.error_type, '') END, -1, CASE WHEN s.success THEN -1 ELSE 0 END,
        CASE WHEN s.duration_ms IS NULL THEN 0 ELSE -1 END, -COALESCE(s.duration_ms, 0.0),
        l.version_number, l.deployed_at
    FROM live l CROSS JOIN superseded_executions s WHERE s.tool_name = l.name AND s.executed_at >= :since
)
SELECT tool_name, start_at >= :recent AS recent,
    live_version IS NULL OR version_number = live_version
        OR (version_number = 0 AND start_at >= deployed_at) AS current,
    error_type, SUM(executions), SUM(executions - successes), SUM(timed), SUM(duration_sum_ms), MIN(start_at) AS first
FROM counted WHERE error_type NOT IN ({_NO_FAILURES})
GROUP BY 1, 2, 3, 4 HAVING SUM(executions) > 0"""
_NAMED = {
    "sqlite": "WITH tools (name) AS (SELECT value FROM json_each(:names))",
    "postgresql": "WITH tools (name) AS (SELECT json_array_elements_text(CAST(:names AS json)))",
}
_NOT_AGGREGATED = {
    "sqlite": """
    SELECT x.tool_name, {hour}, CASE WHEN x.success THEN '' ELSE COALESCE(x.error_type, '') END, 1,
        CASE WHEN x.success THEN 1 ELSE 0 END
    FROM tool_executions x NOT INDEXED
    WHERE x.id > (SELECT rolled_to FROM rollup_state) AND x.executed_at >= :since""",
    "postgresql": """
    SELECT x.tool_name, {hour}, x.error_type, x.executions, x.successes FROM tool_execution_deltas x
    WHERE x.minute >= :since""",
}
_HOUR = {"sqlite": "substr({}, 1, 13) || '\\:00\\:00.000000'", "postgresql": "date_trunc('hour', {}, 'UTC')"}
_COUNTED = """
counted (tool_name, hour, error_type, executions, successes) AS (
    SELECT x.tool_name, x.start_at, x.error_type, x.executions, x.successes
    FROM tools t CROSS JOIN tool_execution_rollups x
    WHERE x.tool_name = t.name AND x.width = 3600 AND x.start_at >= :since
    UNION ALL {not_aggregated}
    UNION ALL
    SELECT s.tool_name, {hour}, CASE WHEN s.success THEN '' ELSE COALESCE(s.error_type, '') END, -1,
        CASE WHEN s.success THEN -1 ELSE 0 END
    FROM tools t CROSS JOIN superseded_executions s WHERE s.tool_name = t.name AND s.executed_at >= :since
)"""
_SUMS = f"""SUM(executions), SUM(executions - successes) FROM counted
WHERE error_type NOT IN ({_NO_FAILURES})"""


def _counted(dialect: str) -> str:
    hour = _HOUR[dialect]
    not_aggregated = _NOT_AGGREGATED[dialect].format(
        hour=hour.format("x.executed_at" if dialect == "sqlite" else "x.minute")
    )
    return _COUNTED.format(not_aggregated=not_aggregated, hour=hour.format("s.executed_at"))


def _calls_sql(dialect: str) -> str:
    return f"{_TOOLS}, {_counted(dialect)} SELECT tool_name, {_SUMS} GROUP BY 1 HAVING SUM(executions) > 0"


def _hours_sql(dialect: str) -> str:
    named = "AND tool_name IN (SELECT name FROM tools) GROUP BY 1, 2 HAVING SUM(executions) > 0"
    return f"{_NAMED[dialect]}, {_counted(dialect)} SELECT tool_name, hour, {_SUMS} {named}"


class ByTool:
    """Reads them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        moment = UTCDateTime()
        calls, hours = (" ".join(sql(database.dialect).split()) for sql in (_calls_sql, _hours_sql))
        self._calls = sa.text(calls).bindparams(sa.bindparam("since", type_=moment))
        self._hours = (
            sa.text(hours)
            .bindparams(sa.bindparam("since", type_=moment))
            .columns(sa.column("tool_name"), sa.column("hour", moment), sa.column("calls"), sa.column("failures"))
        )
        self._uses = (
            sa.text(" ".join(_USES.split()))
            .bindparams(sa.bindparam("since", type_=moment), sa.bindparam("recent", type_=moment))
            .columns(
                *(sa.column(name) for name in ("tool_name", "recent", "current", "error_type")),
                *(sa.column(name) for name in ("calls", "failures", "timed", "duration_ms")),
                sa.column("first", moment),
            )
        )

    def calls(self, since: datetime) -> dict[str, tuple[int, int]]:
        """Return how many calls of each tool there were from the full hour `since` on, and how many of them failed."""
        with self._database.read() as connection:
            rows = connection.execute(self._calls, {"since": since})
            return {name: (int(calls), max(0, int(failures))) for name, calls, failures in rows}

    def hours(self, names: Sequence[str], since: datetime) -> dict[str, dict[datetime, tuple[int, int]]]:
        """Return the calls of some tools and how many of them failed, by the hour, from the full hour `since` on."""
        found: dict[str, dict[datetime, tuple[int, int]]] = {name: {} for name in names}
        with self._database.read() as connection:
            for name, hour, calls, failures in connection.execute(
                self._hours, {"since": since, "names": json.dumps(list(names))}
            ):
                found[name][hour] = int(calls), max(0, int(failures))
        return found

    def uses(self, since: datetime, recent: datetime) -> dict[str, list[Uses]]:
        """Return the calls of each tool from `since` on, as far as they are in the rollups.

        Args:
            since, recent: full hours; calls from `recent` on are recent ones.
        """
        found: dict[str, list[Uses]] = {}
        with self._database.read() as connection:
            for row in connection.execute(self._uses, {"since": since, "recent": recent}):
                found.setdefault(row[0], []).append(_uses(row))
        return found


def _uses(row: Sequence[Any]) -> Uses:
    name, recent, current, error_type, calls, failures, timed, duration, first = row
    first = first.replace(tzinfo=UTC) if first.tzinfo is None else first
    return Uses(
        name, bool(recent), bool(current), error_type, int(calls), int(failures), int(timed), float(duration), first
    )
