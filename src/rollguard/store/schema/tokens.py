"""The table of the service's tokens."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, UniqueConstraint

from rollguard.store.database.types import JsonText, UTCDateTime
from rollguard.store.schema.base import metadata, utc_now

service_tokens = Table(
    "service_tokens",
    metadata,
    Column("token_id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, comment="who holds it"),
    Column("sha256", String(64), nullable=False, comment="of the secret, which is stored nowhere"),
    Column("scopes", JsonText, nullable=False, comment="JSON list: ingest, read, operate, approve"),
    Column("tools", JsonText, nullable=False, comment="JSON list: the tools it may record; empty is every tool"),
    Column("created_at", UTCDateTime, nullable=False, server_default=utc_now()),
    Column("created_by", String(255), nullable=False),
    Column("expires_at", UTCDateTime),
    Column("revoked_at", UTCDateTime),
    UniqueConstraint("sha256"),
    comment="who may use the service, and for what",
)
