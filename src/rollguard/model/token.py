"""Tokens of the service: who may do what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rollguard.errors import InvalidInput, given
from rollguard.model.names import MAX_NAME, checked_tool_name

LOGIN_MARK = " \N{MIDDLE DOT} page "
"""In the name of a log-in's token, between its holder and a random part."""


class Scope(StrEnum):
    """What a token allows. None of them includes another."""

    INGEST = "ingest"
    READ = "read"
    OPERATE = "operate"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Token:
    """One token. Its secret is known to its holder alone; the store has a hash.

    Attributes:
        token_id: its number.
        name: who holds it; decisions made with it are recorded under this name.
        scopes: what it allows.
        tools: the tools whose executions it may record; empty for every tool.
        created_at, created_by: when it was made, and by whom.
        expires_at: when it ends; None for never.
        revoked_at: when it was revoked; None while it was not.
    """

    token_id: int
    name: str
    scopes: frozenset[Scope]
    tools: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def valid_at(self, now: datetime) -> bool:
        """Return whether it may be used now."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def is_login(self) -> bool:
        """Return whether it is a log-in to the pages, which ends with its holder's own token."""
        return LOGIN_MARK in self.name


def checked_scopes(scopes: Iterable[str]) -> frozenset[Scope]:
    """Return scopes by their names.

    Raises:
        InvalidInput: one is unknown, or there is none.
    """
    found = list(scopes)
    for name in found:
        if name not in list(Scope):
            raise InvalidInput(f"scopes: {given(name)} is not one of {', '.join(Scope)}")
    if not found:
        raise InvalidInput(f"scopes: a token without any allows nothing; give one of {', '.join(Scope)}")
    return frozenset(map(Scope, found))


def checked_holder(name: object) -> str:
    """Return the name of a token's holder: 1 to 255 printable characters.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(f"name: {name!r} is not a name; give 1 to {MAX_NAME} printable characters")
    return name


def checked_tools(tools: Iterable[str], scopes: frozenset[Scope]) -> tuple[str, ...]:
    """Return the tools that a token is limited to.

    Raises:
        InvalidInput: one is not a tool's name, or the token records no executions.
    """
    found = tuple(sorted({checked_tool_name(name) for name in tools}))
    if found and Scope.INGEST not in scopes:
        raise InvalidInput("tools: they limit what a token may record, and this one has no scope ingest")
    return found
