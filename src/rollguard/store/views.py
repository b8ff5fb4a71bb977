"""The views, read as rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from rollguard.store.database.engine import Database
from rollguard.store.database.types import UTCDateTime

_TIMES = (
    *("deployment_time", "monitoring_started_at", "latest_check_at", "checked_at"),
    *("created_at", "first_deployed_at", "last_deployed_at", "current_since", "silent_since"),
    *("started_at", "completed_at", "last_tested_at", "ended_at"),
)
_FLAGS = ("regression_detected", "performance_degradation", "needs_rollback", "is_live", "was_rolled_back", "passed")


_LATEST = sa.text(
    "SELECT (SELECT COALESCE(MAX(check_id), 0) FROM deployment_health_checks), "
    "(SELECT COALESCE(MAX(session_id), 0) FROM deployment_monitoring), "
    "(SELECT COUNT(*) FROM deployment_monitoring WHERE status = 'active'), "
    "(SELECT COALESCE(MAX(rollback_id), 0) FROM deployment_rollbacks), "
    "(SELECT COUNT(*) FROM deployment_rollbacks WHERE state = 'finished'), "
    "(SELECT COUNT(*) FROM deployment_rollbacks WHERE verified_at IS NOT NULL), "
    "(SELECT COALESCE(MAX(deployment_id), 0) FROM tool_deployments), "
    "(SELECT COALESCE(SUM(revision + 1), 0) FROM rollouts), "
    "(SELECT COALESCE(MAX(event_id), 0) FROM improvement_events), "
    "(SELECT COALESCE(MAX(id), 0) FROM tool_executions)"
)


class Latest(NamedTuple):
    """What there is in the database of what Rollguard decided: if it is equal, nothing was decided in between."""

    check_id: int
    session_id: int
    active_sessions: int
    rollback_id: int
    finished_rollbacks: int
    verified_rollbacks: int
    deployment_id: int
    rollout_revisions: int
    attempt_event_id: int


class Reports:
    """Rows of the views: `active_monitoring`, `tool_health_history`, `deployment_stability` and those of versions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def active_monitoring(self, *columns: str) -> list[dict[str, Any]]:
        """Return each active session with its latest check, the oldest deployment first.

        Args:
            columns: those that are read, so that the others cost nothing; by default all.
        """
        wanted: list[Any] = [sa.column(name) for name in columns] or [sa.text("*")]
        read = sa.select(*wanted).select_from(sa.table("active_monitoring"))
        return self._rows(read.order_by(sa.text("deployment_time, session_id")))

    def tool_health_history(self, tool_name: str, limit: int = 10) -> list[dict[str, Any]]:
        """Return the tool's latest health checks, newest first."""
        return self._rows(
            "SELECT * FROM tool_health_history WHERE tool_name = :tool_name "
            "ORDER BY checked_at DESC, check_id DESC LIMIT :limit",
            tool_name=tool_name,
            limit=limit,
        )

    def deployment_stability(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Return every tool's deployments and how many were rolled back, the highest rollback rate first."""
        every = sa.select(sa.text("*")).select_from(sa.table("deployment_stability"))
        return self._rows(every.order_by(sa.text("rollback_rate DESC, tool_name")).limit(limit))

    def latest(self) -> tuple[Latest, int]:
        """Return what changes with each decision, and the number of the latest execution. Costs a few look-ups."""
        with self._database.read() as connection:
            *decided, executions = connection.execute(_LATEST).one()
        return Latest(*decided), int(executions)

    def silent(self) -> list[dict[str, Any]]:
        """Return the tools that nobody calls any more, as the latest checks of the active sessions found."""
        return self._rows(
            "SELECT m.session_id, m.tool_name, c.silent_since FROM deployment_monitoring m "
            "JOIN deployment_health_checks c ON c.check_id = (SELECT x.check_id FROM deployment_health_checks x "
            "WHERE x.session_id = m.session_id ORDER BY x.checked_at DESC, x.check_id DESC LIMIT 1) "
            "WHERE m.status = 'active' AND c.silent_since IS NOT NULL ORDER BY c.silent_since, m.session_id"
        )

    def version_history(self, tool_name: str, version_number: int | None = None) -> list[dict[str, Any]]:
        """Return the tool's versions with what became of each, newest first; with a number only that version."""
        return self._rows(
            "SELECT * FROM version_history_with_metrics WHERE tool_name = :tool_name "
            f"{'' if version_number is None else 'AND version_number = :version_number '}"
            "ORDER BY version_number DESC",
            tool_name=tool_name,
            **({} if version_number is None else {"version_number": version_number}),
        )

    def version_stability(self) -> list[dict[str, Any]]:
        """Return every tool's versions, deployments and rollbacks, the highest rollback rate first."""
        return self._rows("SELECT * FROM version_stability ORDER BY COALESCE(rollback_rate, 0) DESC, tool_name")

    def tool_testing_history(self, tool_name: str, limit: int = 10) -> list[dict[str, Any]]:
        """Return the tool's latest rehearsals, newest first."""
        return self._rows(
            "SELECT * FROM tool_testing_history WHERE tool_name = :tool_name "
            "ORDER BY completed_at DESC, kind, test_id DESC LIMIT :limit",
            tool_name=tool_name,
            limit=limit,
        )

    def testing_summary(self) -> list[dict[str, Any]]:
        """Return how many rehearsals of each tool there were, and how many passed."""
        return self._rows("SELECT * FROM testing_summary ORDER BY tool_name")

    def improvement_history(self, tool_name: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
        """Return the latest attempts to improve a tool, or any tool, newest first."""
        return self._rows(
            f"SELECT * FROM improvement_history {'' if tool_name is None else 'WHERE tool_name = :tool_name '}"
            "ORDER BY attempt_id DESC LIMIT :limit",
            limit=limit,
            **({} if tool_name is None else {"tool_name": tool_name}),
        )

    def _rows(self, sql: str | sa.Select[Any], **parameters: Any) -> list[dict[str, Any]]:
        with self._database.read() as connection:
            found = connection.execute(sa.text(sql) if isinstance(sql, str) else sql, parameters)
            names = tuple(found.keys())
            times, flags = ([name for name in names if name in those] for those in (_TIMES, _FLAGS))
            return [_typed(dict(zip(names, row, strict=True)), times, flags) for row in found]


_moment = UTCDateTime()


def _typed(row: dict[str, Any], times: Sequence[str], flags: Sequence[str]) -> dict[str, Any]:
    """Convert the times and booleans of SQLite's views, which are text and 0 or 1, to what PostgreSQL returns."""
    for name in times:
        value = row[name]
        if isinstance(value, str):
            row[name] = _moment.process_result_value(datetime.fromisoformat(value), None)  # type: ignore[arg-type]
    for name in flags:
        if row[name] is not None:
            row[name] = bool(row[name])
    return row
