"""Keep spans until all of a call are here, and record each call once: in one transaction with what decides it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.model.execution import FIELDS, Execution
from rollguard.model.log import logger_of
from rollguard.model.span import Decide, KeptSpan, Key, Recorded
from rollguard.store.database.engine import Database
from rollguard.store.executions.executions import Executions
from rollguard.store.schema import otlp_spans as s

logger = logger_of(__name__)

_AT_ONCE = 500  # traces that are decided together
_MOST_OF_TRACES = 20_000  # spans that are read of them: one trace may be of a process that never ends
_LINKS = timedelta(minutes=1)  # after it is due, a span that is of no call is kept so long
_CALLS = timedelta(minutes=15)  # and one of a recorded call, by which what arrives late is known
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class Spans:
    """The table `otlp_spans`.

    Two processes that decide about one trace wait for each other, by the rows that both have to read.

    Args:
        database: holds it.
        executions: where calls are recorded.
    """

    def __init__(self, database: Database, executions: Executions) -> None:
        self._database, self._executions = database, executions

    def add(self, spans: Sequence[KeptSpan], decide: Decide) -> int:
        """Keep spans, and record the calls that are complete with them. Known spans change nothing.

        Returns:
            Number of new executions.
        """
        if not spans:
            return 0
        traces = sorted({span.trace_id for span in spans})
        recorded = 0
        with self._database.write() as connection:
            for some in _parts(traces, _AT_ONCE):
                wanted = set(some)
                recorded += self._decide(connection, some, [one for one in spans if one.trace_id in wanted], decide)
        return recorded

    def record_due(self, now: datetime, decide: Decide) -> int:
        """Record the calls that waited long enough, and return the number of new executions."""
        due = sa.select(s.c.trace_id).where(s.c.execution.is_not(None), s.c.due_at <= now).order_by(s.c.due_at)
        with self._database.read() as connection:
            traces = sorted(set(connection.scalars(due.limit(_AT_ONCE))))
        if not traces:
            return 0
        with self._database.write() as connection:
            return self._decide(connection, traces, [], decide)

    def forget(self, now: datetime) -> int:
        """Remove spans that no other one needs any more; return how many."""
        old = s.c.execution.is_(None) & (
            (s.c.due_at < now - _CALLS) | (s.c.call.is_(None) & (s.c.due_at < now - _LINKS))
        )
        if not self._exist(old):
            return 0
        with self._database.write() as connection:
            return connection.execute(sa.delete(s).where(old, s.c.due_at < now - _LINKS)).rowcount

    def waiting(self) -> int:
        """Return how many spans of calls are not recorded yet."""
        with self._database.read() as connection:
            count = sa.select(sa.func.count()).select_from(s).where(s.c.execution.is_not(None))
            return int(connection.execute(count).scalar_one())

    def _exist(self, condition: sa.ColumnElement[bool]) -> bool:
        with self._database.read() as connection:
            return connection.execute(sa.select(1).select_from(s).where(condition).limit(1)).first() is not None

    def _decide(self, connection: Connection, traces: list[str], new: Sequence[KeptSpan], decide: Decide) -> int:
        stored = {span.key: span for span in _of(connection, traces)}
        fresh, changed = _merged(stored, new)
        decided = decide([*(stored | changed | fresh).values()])
        number = self._executions.write_within(connection, decided.executions)
        _insert(connection, [_without(span, decided) for span in fresh.values()])
        _note(connection, [_without(span, decided) for span in _changed(stored, changed, decided)])
        return number


def _merged(stored: dict[Key, KeptSpan], new: Sequence[KeptSpan]) -> tuple[dict[Key, KeptSpan], dict[Key, KeptSpan]]:
    """Return the spans that are new, and those that are stored and say more now: the span, or what was logged in it."""
    fresh: dict[Key, KeptSpan] = {}
    changed: dict[Key, KeptSpan] = {}
    for span in new:
        known = fresh.get(span.key) or changed.get(span.key) or stored.get(span.key)
        if known is None:
            fresh[span.key] = span
        elif (known.parent_id is None and span.parent_id is not None) or (
            span.failed and not known.failed and (known.waits or known.parent_id is None)
        ):
            whole, other = (known, span) if known.parent_id is not None else (span, known)
            into = fresh if span.key in fresh else changed
            into[span.key] = whole._replace(failed=whole.failed or other.failed)
    return fresh, changed


def _changed(stored: dict[Key, KeptSpan], changed: dict[Key, KeptSpan], decided: Recorded) -> Iterator[KeptSpan]:
    yield from changed.values()
    for key in sorted(decided.keys & (stored.keys() - changed.keys())):
        yield stored[key]


def _without(span: KeptSpan, decided: Recorded) -> KeptSpan:
    """Return a span as it is kept: what is recorded of it goes when its call is recorded."""
    return span._replace(execution=None, failed=None) if span.key in decided.keys else span


# --- rows ------------------------------------------------------------------------------------------------------------


def _of(connection: Connection, traces: list[str]) -> list[KeptSpan]:
    wanted = sa.select(s).where(s.c.trace_id.in_(traces)).order_by(s.c.trace_id, s.c.span_id).limit(_MOST_OF_TRACES)
    return [*filter(None, map(_span, connection.execute(wanted.with_for_update())))]


def _insert(connection: Connection, spans: list[KeptSpan]) -> None:
    if spans:
        rows = sorted((_row(span) for span in spans), key=lambda row: (row["trace_id"], row["span_id"]))
        connection.execute(_INSERT[connection.dialect.name], rows)


def _note(connection: Connection, spans: Iterable[KeptSpan]) -> None:
    rows = [{f"new_{name}": value for name, value in _row(span).items()} for span in spans]
    if rows:
        connection.execute(_UPDATE, rows)


def _row(span: KeptSpan) -> dict[str, Any]:
    row = span._asdict()
    for name in ("call", "failed"):
        row[name] = None if row[name] is None else _encode(row[name])
    if span.execution is not None:
        fields = span.execution._asdict()
        moment = span.execution.executed_at
        row["execution"] = _encode({**fields, "executed_at": None if moment is None else moment.isoformat()})
    return row


def _span(row: Any) -> KeptSpan | None:
    try:
        execution = None if row.execution is None else json.loads(row.execution)
        if execution is not None:
            execution["executed_at"] = datetime.fromisoformat(execution["executed_at"])
            execution = Execution(**{name: execution[name] for name in FIELDS if name in execution})
        call, failed = (None if text is None else json.loads(text) for text in (row.call, row.failed))
        return KeptSpan(row.trace_id, row.span_id, row.parent_id, row.due_at, call, execution, failed)
    except (ValueError, TypeError, KeyError) as error:  # what another program wrote
        logger.warning("the span %.16s is left out, because it cannot be read: %s", row.span_id, error)
        return None


def _parts(traces: list[str], number: int) -> Iterator[list[str]]:
    rest = iter(traces)
    return iter(lambda: list(islice(rest, number)), [])


_INSERT: dict[str, sa.Executable] = {
    "sqlite": sa.insert(s).prefix_with("OR IGNORE"),
    "postgresql": sa.text(
        f"INSERT INTO otlp_spans ({', '.join(column.name for column in s.columns)}) "
        f"VALUES ({', '.join(f':{column.name}' for column in s.columns)}) ON CONFLICT DO NOTHING"
    ),
}
_UPDATE = (
    sa.update(s)
    .where(s.c.trace_id == sa.bindparam("new_trace_id"), s.c.span_id == sa.bindparam("new_span_id"))
    .values({name: sa.bindparam(f"new_{name}") for name in ("parent_id", "due_at", "call", "execution", "failed")})
)
