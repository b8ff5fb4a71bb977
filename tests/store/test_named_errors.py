"""Errors and leases: each is named for what it is, and no clock but ours makes one last."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, SchemaDamaged, StoreUnavailable
from rollguard.store.database.engine import Database
from tests.conftest import NOW, Guard
from tests.monitor.helpers import Told

YEAR = timedelta(days=365)


def test_a_missing_column_is_named(store: ExecutionStore) -> None:
    """A database without a column or a table says what it lacks, and not that it does not answer."""
    with store.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE tool_actuations RENAME COLUMN last_error TO elsewhere")
        connection.exec_driver_sql("ALTER TABLE notifications RENAME TO elsewhere")
    with pytest.raises(SchemaDamaged, match=r"lacks a part of its schema; see rollguard doctor.*last_error"):
        store.actuations.unsettled()
    with pytest.raises(SchemaDamaged, match="notifications"):
        store.outbox.undelivered()


def test_a_disk_that_fails_is_named() -> None:
    """An error of input or output speaks of the disk, on SQLite and by PostgreSQL's code."""
    database = Database("sqlite://")
    for error in (sqlite3.OperationalError("disk I/O error"), _Failed("could not read block 7")):
        meant = database._store_error(error)
        assert isinstance(meant, StoreUnavailable)
        assert "check its disk" in str(meant)


class _Failed(Exception):
    sqlstate = "58030"


def test_a_lease_of_a_clock_that_is_ahead(guard: Guard) -> None:
    """Sessions that a watcher with a wrong clock took are taken by others at once, as nobody holds them for a year."""
    guard.deploy(1)
    session_id = guard.watch()
    lease = timedelta(minutes=5)
    take = guard.store.sessions.take
    ahead = NOW + YEAR
    assert take("ahead", after=0, limit=9, now=ahead, until=ahead + lease) != []
    (taken,) = take("right", after=0, limit=9, now=NOW, until=NOW + lease)
    assert taken.session_id == session_id
    assert take("third", after=0, limit=9, now=NOW + lease / 2, until=NOW + lease * 1.5) == []


def test_a_request_of_a_clock_that_is_ahead(store: ExecutionStore) -> None:
    """The lease of a request to a target ends after its length, whatever clock it was taken by."""
    lease = timedelta(minutes=1)
    ahead = NOW + YEAR
    assert store.actuations.take("t", holder="ahead", until=ahead + lease, now=ahead) == 1
    assert [one.tool_name for one in store.actuations.unsettled(NOW)] == ["t"]
    assert store.actuations.take("t", holder="right", until=NOW + lease, now=NOW) == 2
    assert store.actuations.take("t", holder="third", until=NOW + lease * 1.5, now=NOW + lease / 2) is None


def test_an_event_of_a_clock_that_is_ahead(guard: Guard) -> None:
    """An event that a wrong clock put off for a year is delivered now."""
    told = Told()
    guard.monitor.dispatcher._notifiers = {"test": told}
    guard.store.outbox.add({"kind": "none"}, NOW + YEAR)
    assert [pending.event for pending in guard.store.outbox.take_due(NOW)] == [{"kind": "none"}]
    assert guard.store.outbox.take_due(NOW) == []


def test_a_value_of_a_wrong_type_is_our_error(store: ExecutionStore) -> None:
    """What a driver cannot take is an invalid input."""
    with pytest.raises(Exception, match=r"too large|out of range|cannot be stored") as refused:
        store.sessions.get(2**63)
    assert not isinstance(refused.value, OverflowError)
    with pytest.raises(Exception, match="cannot be stored"), store.database.write() as connection:
        connection.execute(sa.text("SELECT :x").bindparams(sa.bindparam("x", 5, sa.Boolean)))


def test_a_spool_of_a_wrong_type_is_refused(store: ExecutionStore, tools_dir: Path) -> None:
    """What is given as a spool and is none is an invalid input, and not an error of the first call."""
    with pytest.raises(InvalidInput, match="spool: 5 is not a Spool"):
        ToolRegistry(tools_dir, store=store, spool=5)  # type: ignore[arg-type]
