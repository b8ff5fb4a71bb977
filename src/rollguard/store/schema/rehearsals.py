"""The tables of rehearsals: what a candidate did with recorded calls, beside the live version and alone."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Float, Index, Integer, String, Table, Text

from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema.base import metadata

shadow_test_results = Table(
    "shadow_test_results",
    metadata,
    Column("test_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("candidate_sha256", String(64), nullable=False),
    Column("test_count", Integer, nullable=False),
    Column("agreements", Integer, nullable=False),
    Column("disagreements", Integer, nullable=False),
    Column("agreement_rate", Float, comment="agreements / test_count"),
    Column("passed", Boolean, nullable=False),
    Column(
        "differences", Text, nullable=False, comment="JSON list: the inputs with another outcome, and both outcomes"
    ),
    Column("errors", Text, nullable=False, comment="JSON list: why it did not pass, in words"),
    Column("started_at", UTCDateTime, nullable=False),
    Column("completed_at", UTCDateTime, nullable=False),
    CheckConstraint("agreements + disagreements = test_count", name="counts"),
    Index("ix_shadow_test_results_tool_name_completed_at", "tool_name", "completed_at"),
)

replay_test_results = Table(
    "replay_test_results",
    metadata,
    Column("test_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("candidate_sha256", String(64), nullable=False),
    Column("replay_count", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("success_rate", Float, comment="successes / replay_count"),
    Column("passed", Boolean, nullable=False),
    Column("improvements_count", Integer, nullable=False, comment="calls that failed when they were recorded"),
    Column("regressions_count", Integer, nullable=False, comment="calls that succeeded when they were recorded"),
    Column(
        "differences", Text, nullable=False, comment="JSON list: the inputs with another outcome, and both outcomes"
    ),
    Column("errors", Text, nullable=False, comment="JSON list: why it did not pass, in words"),
    Column("started_at", UTCDateTime, nullable=False),
    Column("completed_at", UTCDateTime, nullable=False),
    CheckConstraint("successes + failures = replay_count", name="counts"),
    Index("ix_replay_test_results_tool_name_completed_at", "tool_name", "completed_at"),
)
