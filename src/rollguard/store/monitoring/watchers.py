"""The table `watchers`: a sign of life of each running loop, by the database's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.watcher import Watcher, WatcherState, Watching
from rollguard.store import outbox
from rollguard.store.database.engine import Database
from rollguard.store.database.statements import insert_into
from rollguard.store.database.types import UTCDateTime
from rollguard.store.schema import deployment_health_checks, deployment_monitoring, utc_now, watchers

_KEPT = timedelta(days=1)  # a silent watcher's row
_NOW = sa.type_coerce(utc_now(), UTCDateTime)
_READ = sa.select(watchers, _NOW.label("as_of")).order_by(watchers.c.started_at, watchers.c.watcher_id)
_ACTIVE = sa.select(sa.func.count()).where(deployment_monitoring.c.status == "active").scalar_subquery()
_LAST_CHECK = (
    sa.select(deployment_health_checks.c.checked_at)
    .order_by(deployment_health_checks.c.check_id.desc())
    .limit(1)
    .scalar_subquery()
)


class Watchers:
    """Signs of life of watchers, who is silent, and whether anybody watches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(
        self, watcher_id: str, *, host: str, pid: int, interval_seconds: float, checked: bool, since: datetime | None
    ) -> list[Watcher]:
        """Write a watcher's sign of life, and return all watchers.

        Args:
            checked: whether it finished a cycle since its latest sign of life.
            since: when it began, as an earlier call returned it; None for the first.
        """
        now = utc_now()
        row = {"host": host, "pid": pid, "interval_seconds": interval_seconds, "seen_at": now, "reported_at": None}
        row |= {"checked_at": now} if checked else {}
        statement = insert_into(watchers, self._database.dialect).values(
            watcher_id=watcher_id, started_at=since or now, **row
        )
        with self._database.write(durable=False, remade=True) as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["watcher_id"], set_=row))
            return _read(connection)

    def leave(self, watcher_id: str) -> None:
        """Remove a watcher that ends."""
        with self._database.write() as connection:
            connection.execute(sa.delete(watchers).where(watchers.c.watcher_id == watcher_id))

    def all(self) -> list[Watcher]:
        """Return all watchers, the oldest first; those that ended without saying so for a day."""
        with self._database.read() as connection:
            return _read(connection)

    def watching(self) -> Watching:
        """Return who checks the sessions."""
        with self._database.read() as connection:
            active, last_check, as_of = connection.execute(sa.select(_ACTIVE, _LAST_CHECK, _NOW)).one()
            return Watching(tuple(_read(connection)), active, last_check, as_of)

    def report(self, found: Sequence[Watcher], event_of: Callable[[Watcher], dict[str, Any]], now: datetime) -> int:
        """Notify people once of each watcher that is silent or behind, and return how many notifications are new.

        Several watchers may find the same one: the first writes the notification. A watcher that gives a sign of life
        may be reported again later. Rows of watchers that are silent for a day are removed.
        """
        news = [w for w in found if w.state is not WatcherState.WATCHING and w.reported_at is None]
        gone = [w.watcher_id for w in found if w.silent_for > _KEPT]
        if not news and not gone:
            return 0
        with self._database.write() as connection:
            new = [event_of(watcher) for watcher in news if _reported_first(connection, watcher)]
            outbox.add_all(connection, new, now)
            connection.execute(sa.delete(watchers).where(watchers.c.watcher_id.in_(gone)))
        return len(new)


def _read(connection: Connection) -> list[Watcher]:
    return [Watcher(**row) for row in connection.execute(_READ).mappings()]


def _reported_first(connection: Connection, watcher: Watcher) -> bool:
    """Mark a watcher as reported, unless another one did, or it gave a sign of life."""
    c = watchers.c
    unchanged = sa.and_(c.watcher_id == watcher.watcher_id, c.seen_at == watcher.seen_at, c.reported_at.is_(None))
    return connection.execute(sa.update(watchers).where(unchanged).values(reported_at=utc_now())).rowcount == 1
