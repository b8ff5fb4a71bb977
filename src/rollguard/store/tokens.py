"""The table `service_tokens`: who may use the service, and for what."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from rollguard.errors import InvalidInput
from rollguard.model.token import Scope, Token, checked_holder, checked_scopes, checked_tools
from rollguard.store.database.engine import Database
from rollguard.store.schema import service_tokens as t

PREFIX = "rgt_"  # so that a token is recognised where it leaked
_TOKEN = tuple(t.c[name] for name in Token.__dataclass_fields__)


class Tokens:
    """Tokens by the hash of their secret. A secret has 256 random bits, so a plain hash is enough."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        tools: Iterable[str] = (),
        created_by: str,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """Create a token, and return it with its secret, which is shown this once.

        Args:
            name: who holds it. Another valid token of this name is refused, so that a name says one thing.
            tools: the tools whose executions it may record; every tool by default.

        Raises:
            InvalidInput: a value is invalid, or the name is taken.
        """
        allowed = checked_scopes(scopes)
        limited = checked_tools(tools, allowed)
        if expires_at is not None and expires_at <= now:
            raise InvalidInput(f"expires_at: {expires_at.isoformat()} is over already; give a later time")
        secret = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as connection:
            if any(token.valid_at(now) for token in _read(connection, t.c.name == checked_holder(name))):
                raise InvalidInput(f"name: {name!r} has a valid token already; revoke it first, or give another name")
            row = connection.execute(
                sa.insert(t)
                .values(
                    name=name,
                    sha256=_hash(secret),
                    scopes=sorted(allowed),
                    tools=list(limited),
                    created_at=now,
                    created_by=created_by,
                    expires_at=expires_at,
                )
                .returning(*_TOKEN)
            ).one()
        return _token(row), secret

    def of_secret(self, secret: str) -> Token | None:
        """Return the token with this secret, valid or not; None if there is none."""
        with self._database.read() as connection:
            return next(iter(_read(connection, t.c.sha256 == _hash(secret))), None)

    def is_holder(self, name: str, now: datetime) -> bool:
        """Return whether somebody has a valid token."""
        with self._database.read() as connection:
            return any(token.valid_at(now) for token in _read(connection, t.c.name == name))

    def all(self) -> list[Token]:
        """Return every token, the revoked ones too, oldest first."""
        with self._database.read() as connection:
            return _read(connection, sa.true())

    def exist(self) -> bool:
        """Return whether there was ever a token. Then the service is closed to those who have none."""
        with self._database.read() as connection:
            return bool(connection.scalar(sa.select(sa.exists().where(t.c.token_id.is_not(None)))))

    def revoke(self, name: str, now: datetime) -> list[Token]:
        """Revoke the valid tokens of a holder, and return them.

        Raises:
            InvalidInput: the holder has none.
        """
        with self._database.write() as connection:
            valid = [token.token_id for token in _read(connection, t.c.name == name) if token.valid_at(now)]
            if not valid:
                raise InvalidInput(f"name: {name!r} has no valid token; list the tokens with: rollguard token list")
            connection.execute(sa.update(t).where(t.c.token_id.in_(valid)).values(revoked_at=now))
            return _read(connection, t.c.token_id.in_(valid))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Token]:
    return [_token(row) for row in connection.execute(sa.select(*_TOKEN).where(where).order_by(t.c.token_id))]


def _token(row: Any) -> Token:
    # What another program wrote there and is no list allows nothing.
    readable = isinstance(row.scopes, list) and isinstance(row.tools, list)
    known = frozenset(scope for scope in Scope if readable and scope in row.scopes)
    values = {**row._mapping, "scopes": known, "tools": tuple(row.tools) if readable else ()}
    return Token(**values)
