"""The table of investigations."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, String, Table, Text

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema.base import metadata, utc_now

investigation_reports = Table(
    "investigation_reports",
    metadata,
    Column("report_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("version_number", Integer, comment="the version that was investigated; NULL is every one"),
    Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("calls", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("cause_kind", String(20), nullable=False),
    Column("cause", Text, nullable=False, comment="the first cause in words"),
    Column("report", JsonText, nullable=False, comment="JSON: the whole report"),
    Index("ix_investigation_reports_tool_name", "tool_name", "report_id"),
    comment="what was found out about why a tool fails",
)
