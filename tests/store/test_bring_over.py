"""A store of schema 0012, the last before the first release, is brought over when it is opened: once, and whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rollguard import ExecutionStore
from rollguard.errors import StoreError
from rollguard.judge import Rules, Window
from rollguard.store.database.engine import Database
from rollguard.store.rollups.selection import Selection
from rollguard.store.schema import metadata, migrate
from rollguard.store.schema.migrations.statements import run
from tests.conftest import NOW
from tests.contract.sql import Row, ask
from tests.store.old_store import make_old_store
from tests.store.test_migrations import VIEWS, included

TOOLS = 5
LASTED = timedelta(hours=10)  # the executions, from NOW on
EVERY_RULE = Rules(
    monitoring_window_hours=48,
    baseline_window_days=30,
    regression_threshold=0.1 + 0.2,
    min_executions=25,
    alpha=0.012345678901234567,
    delta=1e-9,
    decision="evidence",
    fast_triggers="alone",
    rollback_on_slowdown=True,
    hold_on_external=True,
    caller_errors=("ValueError", "Ünïcode's \\ error"),
    collapse_retries=1 / 3,
    baseline="same_hours",
    extend_until_sufficient=12,
    mode="observe",
    max_rollbacks_per_day=0,
)
NEWER = {name for name in Rules().to_dict() if name.startswith(("rollout", "confirm"))} | {
    *("baseline_counts", "rollback_on_score"),
}  # rules that such a store does not know
ONE_RULE = [Rules().with_overrides({name: value}) for name, value in EVERY_RULE.to_dict().items()]
RULES = [Rules(), EVERY_RULE, *ONE_RULE, Rules(hold_on_external=False)]
OF_THE_MOMENT = {"hours_elapsed", "avg_hours_live"}  # what views count from the present time


def _run(url: str, *statements: str) -> None:
    database = Database(url)
    with database.write() as connection:
        run(connection, statements)
    database.close()


def _fill(url: str, executions: int) -> None:
    """Fill an old store: so many executions, sessions of every rule and status, and all that hangs on them."""
    sqlite = url.startswith("sqlite")
    series, names = ("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) ", "s")
    if not sqlite:
        series, names = "", "generate_series(1, {}) AS s (n)"
    seconds = f"n * {LASTED.total_seconds() / executions!r}"
    at = f"strftime('%Y-%m-%d %H:%M:%f000', '{NOW:%F %T}', ({seconds}) || ' seconds')"
    if not sqlite:
        at = f"'{NOW:%F %T}+00'::timestamptz + ({seconds}) * interval '1 second'"
    _run(
        url,
        "INSERT INTO tool_executions (tool_name, version_number, success, duration_ms, error_type, executed_at) "
        f"{series.format(executions)} SELECT 't' || (n % {TOOLS}), CASE WHEN n % 4 > 0 THEN n % 4 END, n % 9 > 0, "
        f"CASE WHEN n % 11 > 0 THEN n % 1000 END, CASE WHEN n % 9 = 0 THEN 'KeyError' END, {at} "
        f"FROM {names.format(executions)}",
        "INSERT INTO tool_versions (tool_name, version_number, code, sha256, kind, created_by) "
        f"{series.format(3 * TOOLS)} SELECT 't' || (n % {TOOLS}), (n - 1) / {TOOLS} + 1, "
        f"{'CAST(n AS BLOB)' if sqlite else 'n::text::bytea'}, n, 'edit', 'me' FROM {names.format(3 * TOOLS)}",
    )
    database = Database(url)
    with database.write() as connection:
        for number, rules in enumerate(RULES * max(1, executions // 10_000)):
            connection.execute(*_session(number, rules))
    database.close()
    at = f"'{NOW:%F %T.000000}'"
    _run(
        url,
        "INSERT INTO tool_deployments (tool_name, version_number, deployed_at, deployed_by, ended_at, ended_by, kind) "
        "SELECT tool_name, version_number, created_at, 'me', CASE WHEN version_number < 3 THEN created_at END, "
        "CASE WHEN version_number < 3 THEN 'rollback' END, 'deployment' FROM tool_versions",
        "INSERT INTO deployment_health_checks (tool_name, session_id, current_success_rate, current_total_executions, "
        "regression_detected, success_rate_drop, verdict, reasons, record) SELECT tool_name, session_id, 0.9, "
        "session_id, TRUE, 0.25, 'regressed', '[\"it fails\"]', '{}' "
        "FROM deployment_monitoring, (SELECT 1 UNION SELECT 2) AS twice",
        "INSERT INTO deployment_rollbacks (tool_name, session_id, rollback_time, reason, rollback_successful, "
        f"from_version, to_version) SELECT tool_name, session_id, {at}, 'it fails', TRUE, 2, 1 "
        "FROM deployment_monitoring WHERE status = 'rolled_back'",
        "INSERT INTO quarantined_code (tool_name, sha256, version_number, rollback_id, reason, quarantined_at) "
        f"SELECT tool_name, rollback_id, 2, rollback_id, reason, {at} FROM deployment_rollbacks",
        f"INSERT INTO notifications (event, next_attempt_at) VALUES ('{{}}', {at})",
        "INSERT INTO tool_actuations (tool_name, sequence) VALUES ('t1', 7)",
    )
    if sqlite:  # where other programs need not heed that the session is there
        ask(url, "INSERT INTO deployment_health_checks (tool_name, session_id) VALUES ('t', 123456) RETURNING 1")


def _session(number: int, rules: Rules) -> tuple[sa.TextClause, Row]:
    values: Row = rules.to_dict()
    values = {name: value for name, value in values.items() if name not in NEWER}
    values |= {"baseline_rule": values.pop("baseline"), "caller_errors": json.dumps(values["caller_errors"])}
    status = ["active", "completed", "rolled_back", "superseded"][number % 4 if number < len(RULES) else 3]
    ended = None if status == "active" else f"{NOW:%F %T.000000}"
    values |= {"tool_name": f"t{number}", "deployment_time": f"{NOW:%F %T.000000}", "status": status}
    values |= {"completed_at": ended, "version_number": 2, "baseline_notes": '["mixed"]', "watched_by": "me"}
    values |= {"baseline": json.dumps(Window(9, 8).to_dict()) if number % 2 else None, "notes": f"note {number}"}
    names = ", ".join(values)
    return sa.text(f"INSERT INTO deployment_monitoring ({names}) VALUES ({', '.join(f':{n}' for n in values)})"), values


ADDED = (
    *("edit_began_at", "silent_since", "failed_at", "traceback", "release_id", "score"),
    *("rollout_id", "stage", "arm", "amended"),
)
"""Columns that later migrations add to tables of then."""
NEW = (
    *("watchers", "calls_in_flight", "failure_definitions", "investigation_reports", "releases", "release_tools"),
    *("shadow_test_results", "replay_test_results", "testing_summary", "tool_testing_history", "rollouts"),
    "otlp_spans",
    "service_tokens",
    *("improvement_attempts", "improvement_events", "loop_statistics", "improvement_history"),
)
"""Tables and views that later migrations add."""
OF_THEN = VIEWS - {*NEW}


def _rows(url: str, name: str) -> list[Row]:
    rows = [
        {k: v for k, v in row.items() if k not in (*OF_THE_MOMENT, *ADDED)} for row in ask(url, f"SELECT * FROM {name}")
    ]
    return sorted(rows, key=repr)


def _everything(url: str) -> dict[str, Any]:
    """All that can be read of a store: small tables and views whole, executions by their sums."""
    names = (VIEWS | set(metadata.tables)) - {"tool_executions", "deployment_monitoring", *NEW}
    if url.startswith("sqlite"):
        names -= {"execution_keys", "request_arrivals"}
    sums = "COUNT(*) AS n, MIN(id), MAX(id), SUM(duration_ms), COUNT(duration_ms), MIN(executed_at), MAX(executed_at)"
    query = f"SELECT tool_name, version_number, success, error_type, {sums} FROM tool_executions GROUP BY 1, 2, 3, 4"
    return {name: _rows(url, name) for name in sorted(names)} | {"executions": sorted(ask(url, query), key=repr)}


def _counted(url: str, tool: str) -> tuple[int, int, int, float]:
    (row,) = ask(
        url,
        "SELECT COUNT(*) AS n, SUM(CASE WHEN success THEN 1 ELSE 0 END) AS good, COUNT(duration_ms) AS timed, "
        f"SUM(duration_ms) AS total FROM tool_executions WHERE tool_name = '{tool}'",
    )
    return row["n"], row["good"], row["timed"], row["total"]


@pytest.mark.parametrize("executions", [1_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_nothing_is_lost(new_url: Callable[[], str], executions: int) -> None:
    """Every row stays, every rule is read back equal, and views and counts answer the same, before and after."""
    assert all(value != Rules().to_dict()[name] for name, value in EVERY_RULE.to_dict().items() if name not in NEWER)
    url = new_url()
    make_old_store(url)
    _fill(url, executions)
    everything, sessions = _everything(url), ask(url, "SELECT * FROM deployment_monitoring ORDER BY session_id")
    assert sum(row["n"] for row in everything["executions"]) == executions
    with ExecutionStore(url) as store:
        assert migrate.current(store.database) == migrate.head()
        assert _everything(url) == everything
        kept = {name for name in sessions[0] if name in metadata.tables["deployment_monitoring"].c}
        after = ask(url, "SELECT * FROM deployment_monitoring ORDER BY session_id")
        assert [{k: row[k] for k in kept} for row in after] == [{k: row[k] for k in kept} for row in sessions]
        read = store.sessions.recent()[::-1]
        assert [session.rules for session in read] == RULES * (len(read) // len(RULES))
        assert {session.invalid_rules for session in read} == {None}
        for _ in range(2):
            for tool in (f"t{number}" for number in range(TOOLS)):
                (window,) = store.executions.count([[Selection(tool, NOW, NOW + 2 * LASTED)]])
                counted = (window.total, window.successes, window.timed, window.duration_sum_ms)
                assert counted == _counted(url, tool)
            store.fold()
        assert {name: _rows(url, name) for name in OF_THEN} == {name: everything[name] for name in OF_THEN}
        new = store.sessions.start("t0", NOW, EVERY_RULE, version_number=None, notes=None, now=NOW)
        assert (new.session_id, new.rules) == (len(sessions) + 1, EVERY_RULE)
        store.store_tool_execution(tool_name="t0", success=True)


def test_the_schema_is_that_of_a_new_store(new_url: Callable[[], str]) -> None:
    """Columns, indexes, constraints, functions and triggers are those of a store that is new."""
    old, new = new_url(), new_url()
    make_old_store(old)
    _fill(old, 100)
    with ExecutionStore(old) as store, ExecutionStore(new):
        with store.database.read() as connection:
            options = {"compare_type": True, "include_object": included(store.database.dialect)}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert _parts(old) == _parts(new)


def _parts(url: str) -> list[str]:
    if url.startswith("sqlite"):
        made = ask(url, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")
        parts = [f"{row['type']} {row['name']} of {row['tbl_name']}" for row in made]
        for row in made:
            parts += [str(column) for column in ask(url, f"PRAGMA table_info({row['name']})")]
            sql = re.sub(rf", ({'|'.join(ADDED)}) \w+", "", row["sql"])  # a later migration writes them at the end
            constraints = re.sub(r"\s+|(?<=KEY)(?=\()", " ", sql).split("CONSTRAINT ")[1:]
            parts += [constraint.rstrip(" ,)") for constraint in constraints if row["type"] == "table"]
        return sorted(parts)
    queries = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype <> 'n' "
        "AND conrelid::regclass::text !~ '_w[0-9]{8}'",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename !~ '_w[0-9]{8}'",
        "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0",
        "SELECT sequencename FROM pg_sequences",
        "SELECT proname, provolatile, proparallel FROM pg_proc WHERE proname LIKE 'rollguard%'",
        "SELECT table_name, column_name, column_default, is_nullable, data_type, character_maximum_length, "
        "col_description(table_name::regclass, ordinal_position) FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name !~ '_w[0-9]{8}'",
    )
    rows = [" ".join(map(str, row.values())) for query in queries for row in ask(url, query)]
    # A dump and what it was made of are read with other casts and parentheses.
    return sorted(re.sub(r"::(character varying|text)(\[\])?|[()\[\]]", "", row) for row in rows)


def test_all_of_it_happens_or_nothing(new_url: Callable[[], str], dialect: str) -> None:
    """Where the database refuses a part of it, the store stays as it was, and is brought over when that is gone."""
    url = new_url()
    make_old_store(url)
    _fill(url, 100)
    if dialect == "sqlite":
        refuse = "BEGIN SELECT RAISE(ABORT, 'mine'); END"
        _run(url, f"CREATE TRIGGER mine BEFORE UPDATE ON {migrate.VERSION_TABLE} {refuse}")
        undo = "DROP TRIGGER mine"
    else:
        _run(url, "CREATE VIEW mine AS SELECT alpha FROM deployment_monitoring")
        undo = "DROP VIEW mine"
    before = ask(url, "SELECT * FROM deployment_monitoring"), _everything(url)
    with pytest.raises(StoreError, match="mine"):
        ExecutionStore(url)
    assert (ask(url, "SELECT * FROM deployment_monitoring"), _everything(url)) == before
    assert ask(url, f"SELECT version_num FROM {migrate.VERSION_TABLE}") == [{"version_num": "0012"}]
    _run(url, undo)
    with ExecutionStore(url) as store:
        assert [session.rules for session in store.sessions.recent()] == RULES[::-1]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_what_a_user_added_is_kept(new_url: Callable[[], str]) -> None:
    """A user's own index and trigger of the table that is rebuilt are there afterwards, where they still fit."""
    url = new_url()
    make_old_store(url)
    _run(
        url,
        "CREATE INDEX mine ON deployment_monitoring (notes)",
        "CREATE INDEX gone ON deployment_monitoring (alpha)",
        "CREATE TRIGGER seen AFTER UPDATE ON deployment_monitoring BEGIN SELECT 1; END",
    )
    ExecutionStore(url).close()
    own = ask(url, "SELECT name FROM sqlite_master WHERE name IN ('mine', 'gone', 'seen') ORDER BY 1")
    assert [row["name"] for row in own] == ["mine", "seen"]


def test_rules_that_could_not_be_read_are_refused_when_they_are(new_url: Callable[[], str]) -> None:
    """A rule that stopped every check before stops only its own session's, and does not stop the store from opening."""
    url = new_url()
    make_old_store(url)
    insert = "INSERT INTO deployment_monitoring (tool_name, deployment_time, caller_errors) VALUES "
    _run(url, f"{insert} ('bad', '{NOW:%F %T}', '[odd]'), ('good', '{NOW:%F %T}', '[\"KeyError\"]')")
    with ExecutionStore(url) as store:
        bad, good = store.sessions.active()
        assert bad.invalid_rules == "caller_errors: '[odd]' is not a list of error types, as [\"ValidationError\"]"
        assert (good.rules.caller_errors, good.invalid_rules) == (("KeyError",), None)
