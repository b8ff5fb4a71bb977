"""The tables of counted executions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Integer,
    String,
    Table,
    text,
)

from rollguard.store.database.types import Histogram, UTCDateTime
from rollguard.store.schema.base import metadata

_AMENDED = "how often what is counted here was amended"

# Executions counted by tool, version, error, minute and hour, with a histogram of their durations. The counts are
# exact, also for executions that other programs insert.
tool_execution_rollups = Table(
    "tool_execution_rollups",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("width", Integer, primary_key=True, autoincrement=False, comment="seconds: 60 or 3600"),
    Column("start_at", UTCDateTime, primary_key=True),
    Column("version_number", Integer, primary_key=True, autoincrement=False, comment="0 where none was named"),
    Column("error_type", String(255), primary_key=True, server_default=""),
    Column("executions", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("timed", BigInteger, nullable=False, comment="executions with a duration"),
    Column("duration_sum_ms", Float, nullable=False),
    Column("histogram", Histogram, nullable=False, comment="of their durations: bucket and executions"),
    Column("amended", BigInteger, nullable=False, server_default=text("0"), comment=_AMENDED),
    sqlite_with_rowid=False,
)

# The first hour of each version, so that counting it need not read older rollups.
tool_version_starts = Table(
    "tool_version_starts",
    metadata,
    Column("tool_name", String(255), primary_key=True),
    Column("version_number", Integer, primary_key=True, autoincrement=False, comment="0 where none was named"),
    Column("first_hour", UTCDateTime, nullable=False),
    sqlite_with_rowid=False,
)

tool_execution_deltas = Table(
    "tool_execution_deltas",
    metadata,
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, nullable=False),
    Column("minute", UTCDateTime, nullable=False),
    Column("error_type", String(255), nullable=False, server_default=""),
    Column("executions", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("timed", BigInteger, nullable=False, comment="executions with a duration"),
    Column("duration_sum_ms", Float, nullable=False),
    Column("histogram", Histogram, nullable=False, comment="of their durations: bucket and executions"),
    Column("amended", BigInteger, nullable=False, server_default=text("0"), comment=_AMENDED),
    comment="counted and not yet folded into the rollups",
)

rollup_state = Table(
    "rollup_state",
    metadata,
    Column("only_row", Integer, primary_key=True, autoincrement=False),
    Column("rolled_to", BigInteger, nullable=False, comment="SQLite: the last id that was rolled up"),
    CheckConstraint("only_row = 1", name="only_row"),
)
