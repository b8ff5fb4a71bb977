"""Durable bulk ingest with rollups, `store.store_tool_executions`, against the bare bulk insert of the same rows.

The bare insert writes finished tuples into the same table with the same indexes and the same durability, in one
transaction: `executemany` of sqlite3, COPY and `executemany` of psycopg. PostgreSQL's triggers are disabled for it.
SQLite cannot disable its own, which hold the types of the columns; the table also shows the insert with these triggers
dropped. Rollguard begins with what a caller has, mappings: it checks every value, makes an id, encodes parameters and
results as JSON, ignores repeated ids and keeps the rollups. Folded means that every row is in the rollups' minutes and
hours at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.databases import Plain, rolled_up, urls
from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, ratio, seconds, versions
from rollguard import ExecutionStore
from rollguard.model.execution import AT, FIELDS, ID, Execution

AIMS = {"SQLite": 0.9, "PostgreSQL": 0.8}
_BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_NAMES = ", ".join(FIELDS)


def run(options: Options) -> Result:
    """Measure."""
    count = 500 if options.tiny else 200_000 if options.full else 50_000
    executions = [_execution(i) for i in range(count)]
    result = Result(
        name="ingest",
        title="Ingest",
        about=__doc__,
        columns=["", "time", "rows/s", "of the bare insert's rate"],
        notes=[
            f"{number(count)} rows of 20 tools over an hour, each with small parameters and a result.",
            "The aims compare with `executemany` on SQLite and COPY on PostgreSQL, with everything folded as well.",
            "Not folded yet: every row is counted exactly, in deltas that the next check adds to the rollups.",
            "Callers' ids: every execution brings an `execution_id` of its own. Without one, Rollguard makes it.",
            "PostgreSQL keeps a caller's id once across partitions by a second table, so the bare insert that the aim "
            "compares with writes that table, too. The table also shows the insert of the rows alone.",
            "From finished rows: checked and encoded before, like for like with the bare insert.",
            versions("psycopg", "SQLAlchemy"),
        ],
    )
    with urls(*AIMS) as (make, servers):
        result.machine = servers
        for kind in AIMS:
            _measure(kind, make(kind), executions, options, result)
    return result


def _measure(kind: str, url: str, executions: list[dict[str, Any]], options: Options, result: Result) -> None:
    plain = Plain(url)
    with ExecutionStore(url) as store:
        for ids, given in (("", executions), (", callers' ids", _with_ids(executions))):
            _measure_with(kind, ids, plain, store, given, options, result)
    plain.close()


def _measure_with(
    kind: str,
    ids: str,
    plain: Plain,
    store: ExecutionStore,
    executions: list[dict[str, Any]],
    options: Options,
    result: Result,
) -> None:
    count = len(executions)
    finished = [store.executions.row(**execution) for execution in executions]
    rows = _tuples(finished, text_times=kind == "SQLite")

    def empty() -> None:
        keys = ("execution_keys",) if kind == "PostgreSQL" else ()
        for table in ("tool_executions", "tool_execution_rollups", "tool_execution_deltas", *keys):
            plain.execute(f"{'TRUNCATE' if kind == 'PostgreSQL' else 'DELETE FROM'} {table}")
        plain.execute("UPDATE rollup_state SET rolled_to = 0")
        plain.settle()

    def timed(write: Callable[[], object], rolled: int) -> Callable[[], float]:
        def once() -> float:
            empty()
            took = seconds(write)
            assert plain.ask("SELECT COUNT(*) FROM tool_executions")[0][0] == count
            assert rolled_up(plain) == rolled
            return took

        return once

    def ours() -> None:
        store.store_tool_executions(executions)

    def ours_folded() -> None:
        store.store_tool_executions(executions)
        store.fold()

    def ours_finished() -> None:
        store.executions.write(finished)

    def ours_finished_folded() -> None:
        store.executions.write(finished)
        store.fold()

    bare = _bare(plain, rows, keys=bool(ids))
    actions = {name: timed(write, 0) for name, write in bare.items()}
    if kind == "PostgreSQL":
        actions["Rollguard, not folded yet"] = timed(ours, count)
        actions["Rollguard, not folded yet, from finished rows"] = timed(ours_finished, count)
    actions["Rollguard, all folded"] = timed(ours_folded, count)
    actions["Rollguard, all folded, from finished rows"] = timed(ours_finished_folded, count)
    figures = medians(actions, options.runs)
    best = figures[next(iter(bare))]
    for name, took in figures.items():
        result.rows.append([f"{kind}: {name}{ids}", duration(took), number(count / took), ratio(best / took)])
    for words, name, action in (
        ("", "Rollguard, all folded", ours_folded),
        (" from finished rows", "Rollguard, all folded, from finished rows", ours_finished_folded),
        (" from finished rows, not folded yet", "Rollguard, not folded yet, from finished rows", ours_finished),
    ):
        if name not in figures:
            continue  # SQLite folds as it writes
        share = best / figures[name]
        aim = Aim(f"{kind}: at least {AIMS[kind]} of the bare insert{words}{ids}", ratio(share), share >= AIMS[kind])
        if not aim.met:
            empty()
            aim.profile = profile(action)
        result.aims.append(aim)


def _bare(plain: Plain, rows: list[tuple[Any, ...]], *, keys: bool) -> dict[str, Callable[[], None]]:
    """The bare inserts; the first one is what the aims compare with."""
    if plain.sqlite is not None:
        connection = plain.sqlite

        def many() -> None:
            connection.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(FIELDS))
            connection.executemany(f"INSERT INTO tool_executions ({_NAMES}) VALUES ({marks})", rows)
            connection.execute("COMMIT")

        def without_triggers() -> None:
            triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _sql in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            many()
            for _name, sql in triggers:
                connection.execute(sql)

        return {"bare executemany": many, "executemany without the table's triggers": without_triggers}
    postgres = plain.postgres
    assert postgres is not None
    postgres.execute("SET session_replication_role = replica")  # no triggers

    ids = [(row[ID], row[AT]) for row in rows]

    def copy_rows() -> None:
        with postgres.cursor().copy(f"COPY tool_executions ({_NAMES}) FROM STDIN") as sink:
            for row in rows:
                sink.write_row(row)

    def copy() -> None:
        with postgres.transaction():
            copy_rows()

    def copy_with_ids() -> None:
        with postgres.transaction():
            copy_rows()
            with postgres.cursor().copy("COPY execution_keys (execution_id, executed_at) FROM STDIN") as sink:
                for row in ids:
                    sink.write_row(row)

    def many_rows() -> None:
        marks = ", ".join(["%s"] * len(FIELDS))
        with postgres.transaction():
            postgres.cursor().executemany(f"INSERT INTO tool_executions ({_NAMES}) VALUES ({marks})".encode(), rows)

    first = {"bare COPY of rows and ids": copy_with_ids} if keys else {}
    return {**first, "bare COPY": copy, "bare executemany": many_rows}


def _execution(i: int) -> dict[str, Any]:
    return {
        "tool_name": f"tool_{i % 20}",
        "success": i % 50 != 0,
        "duration_ms": 20.0 + (i * 7919 % 1000) / 10,
        "error": "ValueError: no such customer" if i % 50 == 0 else None,
        "parameters": {"customer": i, "query": "latest invoices"},
        "result": None if i % 50 == 0 else {"found": i % 7},
        "executed_at": _BEGAN + timedelta(milliseconds=i * 3_600_000 // 50_000),
        "version_number": 3,
    }


def _with_ids(executions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**execution, "execution_id": f"{i:032x}"} for i, execution in enumerate(executions)]


def _tuples(finished: list[Execution], *, text_times: bool) -> list[tuple[Any, ...]]:
    """The same rows as the bare insert takes them, finished before the clock runs."""
    if not text_times:
        return [tuple(row) for row in finished]
    return [tuple(row._replace(executed_at=f"{row.executed_at:%Y-%m-%d %H:%M:%S.%f}")) for row in finished]
