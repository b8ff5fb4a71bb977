"""Spans of OpenTelemetry that may be one call, and calls that are not judged because of how they were sampled."""

from alembic import op
from sqlalchemy import text

from rollguard.store.schema.migrations.held_types import hold_types
from rollguard.store.schema.migrations.statements import run, statements

revision = "0043"
down_revision = "0041"

_VIEW = "version_history_with_metrics"


def upgrade() -> None:
    connection = op.get_bind()
    run(connection, statements("0043_spans", connection.dialect.name))
    if connection.dialect.name == "sqlite":
        hold_types(connection, "otlp_spans")
        made = connection.scalar(text(f"SELECT sql FROM sqlite_master WHERE name = '{_VIEW}'"))
        run(connection, [f"DROP VIEW {_VIEW}", made.replace("'ControlFlow'", "'ControlFlow', 'TailSampled'")])
