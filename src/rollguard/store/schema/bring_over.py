"""Convert a store of schema 0012, the last one before the first release: thirteen columns become one.

This module knows only these two schemas, and does not depend on the present tables.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.log import logger_of
from rollguard.store.schema.migrations.statements import run, statements

logger = logger_of(__name__)

FROM, TO = "0012", "0013"

# The columns that become the JSON of `rules`, and the rule each holds.
_RULES = {
    "min_executions": "min_executions",
    "alpha": "alpha",
    "delta": "delta",
    "decision": "decision",
    "fast_triggers": "fast_triggers",
    "rollback_on_slowdown": "rollback_on_slowdown",
    "hold_on_external": "hold_on_external",
    "caller_errors": "caller_errors",
    "collapse_retries": "collapse_retries",
    "baseline_rule": "baseline",
    "extend_until_sufficient": "extend_until_sufficient",
    "mode": "mode",
    "max_rollbacks_per_day": "max_rollbacks_per_day",
}
_ITS_OWN = re.compile(r"CREATE (?:TABLE|(UNIQUE )?INDEX (\w+) ON) deployment_monitoring ")
_KEPT = (
    "session_id, tool_name, deployment_time, monitoring_started_at, monitoring_window_hours, baseline_window_days, "
    "regression_threshold, status, completed_at, notes, version_number, live_before, outcome, baseline, "
    "baseline_notes, watched_by, watched_until"
)


def bring_over(connection: Connection) -> None:
    """Turn schema 0012 into 0013 in the connection's transaction. Executions are neither read nor written."""
    columns = ", ".join(_RULES)
    sessions = connection.exec_driver_sql(f"SELECT session_id, {columns} FROM deployment_monitoring").mappings()
    rules = [{"session_id": row["session_id"], "rules": _json(row)} for row in sessions]
    if connection.dialect.name == "sqlite":
        own = _of_the_user(connection)
        run(connection, _rebuilt())
        _make_again(connection, own)
    else:
        run(connection, _altered())
    if rules:
        update = sa.text("UPDATE deployment_monitoring SET rules = :rules WHERE session_id = :session_id")
        connection.execute(update, rules)
    connection.exec_driver_sql(f"UPDATE rollguard_schema_version SET version_num = '{TO}'")


def _json(row: Any) -> str:
    values = {rule: row[column] for column, rule in _RULES.items()}
    for flag in ("rollback_on_slowdown", "hold_on_external"):  # 0 and 1 on SQLite
        values[flag] = None if values[flag] is None else bool(values[flag])
    with contextlib.suppress(ValueError):  # invalid JSON stays as it is, and is refused when it is read
        values["caller_errors"] = json.loads(values["caller_errors"])
    return json.dumps(values, separators=(",", ":"))


def _rebuilt() -> list[str]:
    """Replace the table: SQLite drops no column that a constraint of the table names."""
    return [
        "PRAGMA defer_foreign_keys = ON",  # its rows are gone for a moment; the commit checks that they are back
        f"CREATE TEMPORARY TABLE sessions_before AS SELECT {_KEPT} FROM deployment_monitoring",
        "DROP TABLE deployment_monitoring",
        *filter(_ITS_OWN.match, statements("0013_baseline", "sqlite")),
        f"INSERT INTO deployment_monitoring ({_KEPT}) SELECT {_KEPT} FROM sessions_before",
        "DROP TABLE sessions_before",
    ]


def _of_the_user(connection: Connection) -> list[str]:
    """Return the statements of the indexes and triggers of the table that Rollguard did not make."""
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'deployment_monitoring' AND type IN ('index', 'trigger') "
        "AND sql IS NOT NULL ORDER BY rowid"
    )
    ours = {match[2] for match in map(_ITS_OWN.match, statements("0013_baseline", "sqlite")) if match and match[2]}
    return [sql for name, sql in rows if name not in ours]


def _make_again(connection: Connection, own: list[str]) -> None:
    for sql in own:
        try:
            with connection.begin_nested():
                run(connection, [sql])
        except sa.exc.DBAPIError as error:  # on a column that is gone
            logger.warning("not made again, for it does not fit the new schema (%s): %s", error.orig, sql)


def _altered() -> list[str]:
    dropped = ", ".join(f"DROP COLUMN {column}" for column in _RULES)
    return [
        f"ALTER TABLE deployment_monitoring ADD COLUMN rules TEXT DEFAULT '{{}}' NOT NULL, {dropped}",
        "COMMENT ON COLUMN deployment_monitoring.rules IS 'JSON: the other rules; {} is the defaults'",
        "COMMENT ON COLUMN tool_actuations.unsettled_since IS 'a request began then, and its end is not recorded'",
        "DROP SEQUENCE rollup_state_only_row_seq CASCADE",  # which nothing used
    ]
