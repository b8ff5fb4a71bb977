"""The tables `shadow_test_results` and `replay_test_results`: what rehearsals found."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from rollguard.model.rehearsed import ReplayTestResult, ShadowTestResult
from rollguard.store.database.engine import Database
from rollguard.store.schema import replay_test_results, shadow_test_results

_JSON = ("differences", "errors")


class Rehearsals:
    """Results of shadow and replay tests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_shadow(self, result: ShadowTestResult) -> int:
        """Store the result of a shadow test and return its number."""
        return self._add(shadow_test_results, result.to_row())

    def add_replay(self, result: ReplayTestResult) -> int:
        """Store the result of a replay test and return its number."""
        return self._add(replay_test_results, result.to_row())

    def shadow(self, tool_name: str, limit: int = 20) -> list[ShadowTestResult]:
        """Return the tool's latest shadow tests, newest first."""
        return [ShadowTestResult(**row) for row in self._latest(shadow_test_results, tool_name, limit)]

    def replay(self, tool_name: str, limit: int = 20) -> list[ReplayTestResult]:
        """Return the tool's latest replay tests, newest first."""
        return [ReplayTestResult(**row) for row in self._latest(replay_test_results, tool_name, limit)]

    def _add(self, table: sa.Table, row: dict[str, Any]) -> int:
        values = {name: json.dumps(value) if name in _JSON else value for name, value in row.items()}
        with self._database.write() as connection:
            return int(connection.execute(sa.insert(table).values(**values).returning(table.c.test_id)).scalar_one())

    def _latest(self, table: sa.Table, tool_name: str, limit: int) -> list[dict[str, Any]]:
        wanted = sa.select(table).where(table.c.tool_name == tool_name).order_by(table.c.test_id.desc()).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(wanted).mappings().all()
        return [
            {
                name: tuple(json.loads(value)) if name in _JSON else value
                for name, value in row.items()
                if name not in ("agreement_rate", "success_rate")
            }
            for row in rows
        ]
