"""The table of spans that may be one call."""

from __future__ import annotations

from sqlalchemy import Column, Index, String, Table, Text, text

from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema.base import POSTGRESQL, metadata

otlp_spans = Table(
    "otlp_spans",
    metadata,
    Column("trace_id", String(32), primary_key=True),
    Column("span_id", String(16), primary_key=True),
    Column("parent_id", String(16), comment="'' for none; NULL while only a log is known"),
    Column("due_at", UTCDateTime, nullable=False, comment="when it is no longer waited for other spans of the call"),
    Column("call", Text, comment="JSON: of which call it is a span; NULL for any other span"),
    Column("execution", Text, comment="JSON: what is recorded of it; NULL once the call is recorded"),
    Column("failed", Text, comment="JSON: the exception that was logged within it"),
    Index("ix_otlp_spans_due_at", "due_at"),
    Index(
        "ix_otlp_spans_waiting",
        "due_at",
        sqlite_where=text("execution IS NOT NULL"),
        info={POSTGRESQL: {"where": text("execution IS NOT NULL")}},
    ),
    sqlite_with_rowid=False,
    comment="spans of calls that several spans may be of, for the minutes in which others may arrive",
)
