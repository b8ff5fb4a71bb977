"""The tables of the autonomous loop: attempts to improve tools, their events, and counters."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from rollguard.model.attempt import OPEN, State
from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema.base import POSTGRESQL, metadata, utc_now


def _listed(states: tuple[State, ...]) -> str:
    return ", ".join(f"'{state}'" for state in states)


_IS_OPEN = text(f"state IN ({_listed(OPEN)})")
_FREEZES = text("event IN ('freeze', 'unfreeze')")

improvement_attempts = Table(
    "improvement_attempts",
    metadata,
    Column("attempt_id", Integer, primary_key=True),
    Column("tool_name", String(255), nullable=False),
    Column("cause_key", String(64), comment="names the cause; NULL before the investigation"),
    Column("cause", Text),
    Column("kind", String(40), nullable=False, comment="of the opportunity"),
    Column("priority", String(20), nullable=False),
    Column("state", String(20), nullable=False, server_default="found"),
    Column("why", String(20), comment="why it ended"),
    Column("leased_by", String(255), comment="the stage that works on it"),
    Column("leased_until", UTCDateTime),
    Column("starts", Integer, nullable=False, server_default=text("0"), comment="of stages, in this state"),
    Column("tries", Integer, nullable=False, server_default=text("0"), comment="proposals so far"),
    Column("idempotency_key", String(64), nullable=False),
    Column("base_version", Integer, nullable=False),
    Column("base_sha256", String(64), nullable=False),
    Column("candidate", LargeBinary),
    Column("candidate_sha256", String(64)),
    Column("proposal", JsonText, comment="JSON: source, author, model, prompt_sha256 and reason"),
    Column("strategy", String(20)),
    Column("verdict", String(20)),
    Column("evidence", JsonText, nullable=False, server_default="{}", comment="JSON: what an approval is bound to"),
    Column("reasons", JsonText, nullable=False, server_default="[]", comment="JSON list: why tries were refused"),
    Column("budget", JsonText, nullable=False, server_default="{}", comment="JSON: tokens, seconds and tries"),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("cost", Float, nullable=False, server_default=text("0")),
    Column("seconds", Float, nullable=False, server_default=text("0")),
    Column("expires_at", UTCDateTime, comment="until when it can be approved and deployed"),
    Column("not_before", UTCDateTime, comment="until when its tool is left alone"),
    Column("version_number", Integer, comment="the deployed version"),
    Column("session_id", Integer, comment="what monitors it"),
    Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("updated_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("ended_at", UTCDateTime),
    UniqueConstraint("idempotency_key"),
    CheckConstraint(f"state IN ({_listed(tuple(State))})", name="state"),
    CheckConstraint(f"(state IN ({_listed(OPEN)})) = (ended_at IS NULL)", name="ended"),
    CheckConstraint("(ended_at IS NULL) = (why IS NULL)", name="why"),
    Index(
        "uq_improvement_attempts_open",
        "tool_name",
        unique=True,
        sqlite_where=_IS_OPEN,
        info={POSTGRESQL: {"where": _IS_OPEN}},
    ),
    Index("ix_improvement_attempts_tool_name", "tool_name", "attempt_id"),
    Index("ix_improvement_attempts_created_at", "created_at"),
    comment="attempts of the autonomous loop to improve a tool",
)

# A trigger refuses to change or remove a row.
improvement_events = Table(
    "improvement_events",
    metadata,
    Column("event_id", Integer, primary_key=True),
    Column("attempt_id", Integer, comment="NULL for a freeze"),
    Column("tool_name", String(255), comment="NULL for a freeze of every tool"),
    Column("at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("event", String(20), nullable=False, comment="the transition, or find, freeze and unfreeze"),
    Column("from_state", String(20)),
    Column("to_state", String(20)),
    Column("try_number", Integer, nullable=False, server_default=text("0")),
    Column("by", String(255), nullable=False),
    Column("reason", Text),
    Column("details", JsonText, nullable=False, server_default="{}"),
    Index("ix_improvement_events_attempt_id", "attempt_id", "event_id"),
    Index(
        "ix_improvement_events_freezes",
        "event_id",
        sqlite_where=_FREEZES,
        info={POSTGRESQL: {"where": _FREEZES}},
    ),
    comment="each decision of the loop and of people about an attempt; append-only",
)

loop_statistics = Table(
    "loop_statistics",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    comment="what all loops on this store did so far",
)
