"""What must hold, in the transaction of a change of state, beside the state itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from rollguard.model.attempt import Attempt
from rollguard.store import rollback_states
from rollguard.store.database.engine import Database
from rollguard.store.improvements import events, freezes
from rollguard.store.monitoring import sessions
from rollguard.store.versions import versions

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state that is about to be made, in its transaction. The tool's lock is held."""

    database: Database
    connection: Connection
    attempt: Attempt
    now: datetime


Condition = Callable[[Change], str | None]
"""Returns why a change of state may not be made; None if it may."""


def votes_are(number: int) -> Condition:
    """Return the condition that nobody has voted meanwhile: there are so many votes."""

    def holds(change: Change) -> str | None:
        votes = events.votes(change.connection, change.attempt.attempt_id)
        return None if len(votes) == number else "somebody else has just voted"

    return holds


def fewer_than(most: int, event: str, by: str) -> Condition:
    """Return the condition that there were fewer such events in the last 24 hours."""

    def holds(change: Change) -> str | None:
        change.database.lock_tool(change.connection, f"loop: {event}")
        done = events.count(change.connection, event, by=by, since=change.now - _DAY)
        return None if done < most else f"{by} did so {done} times in 24 hours, which is the most"

    return holds


def nothing_else_is_open(change: Change) -> str | None:
    """Return why a tool cannot be changed now: it is frozen, or something else is live, monitored or rolled back."""
    connection, name = change.connection, change.attempt.tool_name
    if freezes.is_frozen(connection, name):
        return "it is frozen"
    live = versions.live(connection, name)
    if live is None or versions.get(connection, name, live.version_number).sha256 != change.attempt.base_sha256:
        return "something else is live than what it improves"
    if rollback_states.is_under_way(connection, name):
        return "a rollback is under way"
    return "another deployment of it is monitored" if sessions.is_monitored(connection, name) else None
