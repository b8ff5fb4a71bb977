"""What an error of a database's driver means to the caller."""

from __future__ import annotations

import sqlite3

from rollguard.errors import (
    NotARollguardStore,
    SchemaDamaged,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

# The beginning of an SQLSTATE, or words of SQLite's message, and what they mean to the caller.
_MEANINGS: tuple[tuple[type[StoreError], tuple[str, ...], tuple[str, ...], str], ...] = (
    (NotARollguardStore, (), ("file is not a database", "malformed"), "is not a SQLite database, or is damaged"),
    (
        SchemaDamaged,
        ("42P01", "42703"),
        ("no such table", "no such column", "has no column named"),
        "lacks a part of its schema; see rollguard doctor, or restore a backup",
    ),
    (StoreUnavailable, ("58",), ("disk I/O error",), "cannot be read or written; check its disk and the system's log"),
    (StoreBusy, ("57014",), ("interrupted",), "took too long to answer"),
    (
        StoreBusy,
        ("55P03", "40"),  # also a deadlock, and what cannot be serialised
        ("database is locked", "table is locked"),
        "is locked by another process for too long",
    ),
    (StoreUnavailable, ("25P03",), (), "rolled back a transaction of this process, which was suspended for too long"),
    (StoreReadOnly, ("25006",), ("readonly database",), "is read-only; make it writable, its folder too"),
    (StoreFull, ("53100",), ("disk is full",), "has no disk space left; free some"),
    (StoreUnavailable, (), ("unable to open database file",), "cannot be opened; check that its folder exists"),
    (StoreUnavailable, ("28", "3D"), (), "refuses us; check the user, the password and the database's name"),
    (StoreUnavailable, ("08", "53", "57"), (), "does not answer; check that it runs and may be reached"),
)


def meaning_of(error: BaseException, database: str) -> StoreError:
    """Return the error that tells the caller what the driver's error means, with the database's name."""
    text = str(error).strip() or type(error).__name__
    state: str = getattr(error, "sqlstate", None) or ""
    for kind, states, words, advice in _MEANINGS:
        if (state and state.startswith(states)) or any(word in text for word in words):
            return kind(f"{database} {advice} ({text})")
    if not state or isinstance(error, sqlite3.OperationalError):
        return StoreUnavailable(f"{database} does not answer; check that it runs and may be reached ({text})")
    return StoreError(f"{database}: {text}")
