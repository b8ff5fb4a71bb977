"""Record executions that callers send. What is acknowledged is committed, or on the disk in the spool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rollguard.app import Rollguard
from rollguard.errors import InvalidInput, StoreError
from rollguard.model.execution import AT, ID, Execution
from rollguard.model.log import logger_of
from rollguard.service.auth import Caller
from rollguard.service.rates import Rates
from rollguard.service.rows import Bad, Row, checked_row, given_exactly, parts_of
from rollguard.service.turns import Turns

logger = logger_of(__name__)

_Read = tuple[list[Execution | Bad], list[bool]]
"""Executions, or what is wrong with them; and whether the caller gave each its time."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the rows of one request.

    Attributes:
        received: how many there were.
        stored: how many are new in the database.
        already_stored: how many were there before, by their id.
        waiting: how many are on the disk until the database is back.
        refused: which are no executions, or not the caller's to record: their positions from 0 on, and why.
        conflicts: which came again with other content: their positions. The first one is kept.
    """

    received: int
    stored: int = 0
    already_stored: int = 0
    waiting: int = 0
    refused: list[tuple[int, Bad]] = field(default_factory=list)
    conflicts: list[tuple[int, str]] = field(default_factory=list)


_BYTES = 1_024  # of memory that a row takes beside its texts
_TIMES = 3  # bytes that a text may take for each of its bytes in a body


class Ingest:
    """Records executions for callers.

    Args:
        guard: the system that stores them.
        most_rows: rows in one request.
        turns: has bodies read one after another.
    """

    def __init__(self, guard: Rollguard, most_rows: int, turns: Turns) -> None:
        self._guard, self._most, self._turns = guard, most_rows, turns

    async def take_body(self, body: bytes, content_type: str, caller: Caller, rates: Rates) -> Taken:
        """Record the rows of a body.

        Raises:
            Refused: the body is none, or the caller sends too much.
            StoreError: nothing was recorded.
        """
        return await self._turns.take(
            lambda: self._read(body, content_type, caller, rates),
            lambda read: len(read[0]) * _BYTES + len(body) * _TIMES,
            lambda read: self.take(read[0], dated=read[1]),
        )

    def _read(self, body: bytes, content_type: str, caller: Caller, rates: Rates) -> _Read:
        found, dated = list[Execution | Bad](), list[bool]()
        for part in parts_of(body, content_type, self._most):
            executions, with_time = self._completed(part, caller)
            found += executions
            dated += with_time
        rates.take_rows(caller.key, len(found))
        return found, dated

    def take(self, found: Sequence[Execution | Bad], *, dated: Sequence[bool]) -> Taken:
        """Record complete executions; what is none is refused.

        Args:
            found: executions, or what is wrong with them.
            dated: whether the caller gave each its time.

        Raises:
            StoreError: nothing was recorded.
        """
        refused = [(place, row) for place, row in enumerate(found) if isinstance(row, Bad)]
        good = {place: row for place, row in enumerate(found) if isinstance(row, Execution)}
        if not good:
            return Taken(len(found), refused=refused)
        new = self._guard.registry.recorder.take(list(good.values()))
        if new is None:
            return Taken(len(found), waiting=len(good), refused=refused)
        again = len(good) - new
        conflicts = self._conflicts(good, dated) if again else []
        return Taken(len(found), new, again, refused=refused, conflicts=conflicts)

    def _completed(self, values: Sequence[Any], caller: Caller) -> _Read:
        """Return the executions that the caller may record; of the other values, why not."""
        try:
            columns = given_exactly(values)
            if caller.tools and not all(map(caller.may_record, columns[0])):
                raise TypeError
            return [*self._guard.store.executions.exact_rows(columns)], [at is not None for at in columns[AT]]
        except (KeyError, TypeError, ValueError):  # one of them is to be refused: look at each
            return self._completed_each([checked_row(value) for value in values], caller)

    def _completed_each(self, rows: Sequence[Row | Bad], caller: Caller) -> _Read:
        mine: list[dict[str, Any]] = []
        found: list[Execution | Bad | None] = []
        for row in rows:
            if isinstance(row, Bad):
                found.append(row)
            elif not caller.may_record(row["tool_name"]):
                said = f"tool_name: the token of {caller.name} may not record executions of {row['tool_name']!r}"
                found.append(Bad(said[:300], row.get("execution_id")))
            else:
                mine.append({**row})
                found.append(None)
        made = zip(mine, self._guard.store.executions.rows(mine), strict=True)
        dated = [isinstance(row, dict) and bool(row.get("executed_at")) for row in rows]
        return [_one_of(*next(made)) if row is None else row for row in found], dated

    def _conflicts(self, rows: dict[int, Execution], dated: Sequence[bool]) -> list[tuple[int, str]]:
        """Return which executions are stored with other content."""
        try:
            stored = self._guard.store.listing.with_ids([str(row.execution_id) for row in rows.values()])
        except StoreError as error:  # they are stored all the same
            logger.warning("whether executions came again with other content is not known: %s", error)
            return []
        found = []
        for place, row in rows.items():
            first = stored.get(str(row.execution_id))
            if first is not None and _content(row, dated[place]) != _content(first, dated[place]):
                found.append((place, str(row.execution_id)))
        if found:
            logger.warning("%d executions came again with other content; the first ones are kept", len(found))
        return found


def _one_of(given: dict[str, Any], made: Execution | InvalidInput) -> Execution | Bad:
    return Bad(str(made)[:300], given.get("execution_id")) if isinstance(made, InvalidInput) else made


def _content(row: Execution, dated: bool) -> tuple[Any, ...]:
    """Return what two executions of one id have in common; the time only if the caller gave it."""
    return (*row[:AT], row[AT] if dated else None, *row[AT + 1 : ID], *row[ID + 1 :])
