"""The table `improvement_attempts`. Each change of state checks the state before it and writes its event with it."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from rollguard.errors import AttemptClosed, StoreConflict, UnknownAttempt
from rollguard.model.attempt import BEGIN, NOT_GOOD, OPEN, Attempt, State, TrackRecord, Transition, Why
from rollguard.store import outbox
from rollguard.store.database.engine import Database
from rollguard.store.improvements import events, freezes
from rollguard.store.improvements.conditions import Change, Condition
from rollguard.store.schema import improvement_attempts as a

_DAY = timedelta(days=1)
_OPEN = a.c.state.in_(OPEN)
_FIND_LOCK = "loop: find"  # held while attempts are counted and one is begun, so that no cap is passed


@dataclass(frozen=True, slots=True)
class Caps:
    """How many attempts may begin in 24 hours, and what they may cost.

    Attributes:
        of_tool: of one tool.
        of_all: of all tools.
        tokens: of all tools together.
    """

    of_tool: int
    of_all: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What an attempt begins with.

    Attributes:
        kind, priority: of the opportunity.
        reason: what was counted, in words.
        base_version, base_sha256: the live version.
        budget: what the attempt may cost.
    """

    tool_name: str
    kind: str
    priority: str
    reason: str
    base_version: int
    base_sha256: str
    budget: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of state, with what it stores.

    Attributes:
        transition: the change.
        by: who makes it.
        reason: why, in words.
        values: columns to set.
        details: for the event.
        why: why the attempt ends, if it does.
        notify: an event that people are notified of.
    """

    transition: Transition
    by: str
    reason: str | None = None
    values: Mapping[str, Any] | None = None
    details: Mapping[str, Any] | None = None
    why: Why | None = None
    notify: dict[str, Any] | None = None


class Attempts:
    """Attempts to improve tools."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- reading ---------------------------------------------------------------------------------------------------

    def get(self, attempt_id: int) -> Attempt:
        """Return one attempt.

        Raises:
            UnknownAttempt: there is none with that number.
        """
        with self._database.read() as connection:
            return _get(connection, attempt_id)

    def recent(
        self,
        *,
        tool_name: str | None = None,
        states: Collection[State] | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Attempt]:
        """Return attempts, newest first; with `before` those older than that one."""
        query = sa.select(a).order_by(a.c.attempt_id.desc()).limit(limit)
        if before is not None:
            query = query.where(a.c.attempt_id < before)
        if tool_name is not None:
            query = query.where(a.c.tool_name == tool_name)
        if states is not None:
            query = query.where(a.c.state.in_(states))
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(query)]

    def of_cause(self, tool_name: str, cause_key: str) -> list[Attempt]:
        """Return the attempts for one cause that ended, newest first."""
        query = sa.select(a).where(a.c.tool_name == tool_name, a.c.cause_key == cause_key, ~_OPEN)
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(query.order_by(a.c.attempt_id.desc()))]

    def busy(self) -> set[str]:
        """Return the tools with an open attempt."""
        with self._database.read() as connection:
            return set(connection.scalars(sa.select(a.c.tool_name).where(_OPEN)))

    def cooling_down(self, now: datetime) -> set[tuple[str, str]]:
        """Return the tools, with the kind of opportunity, that are left alone for now."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(a.c.tool_name, a.c.kind).where(a.c.not_before > now))
            return {(row.tool_name, row.kind) for row in found}

    def spent_tokens(self, now: datetime) -> int:
        """Return the tokens that attempts of the last 24 hours cost."""
        with self._database.read() as connection:
            return _spent(connection, now)

    def track_records(self) -> list[TrackRecord]:
        """Return how well the proposals of each author did, the best first. Only attempts that ended count."""
        query = sa.select(a.c.proposal, a.c.state, a.c.why, a.c.version_number, a.c.tokens, a.c.cost).where(
            ~_OPEN, a.c.proposal.is_not(None)
        )
        found: dict[str, list[Any]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(str((row.proposal or {}).get("author")), []).append(row)
        records = [_record(author, rows) for author, rows in found.items()]
        return sorted(records, key=lambda one: (-(one.success_rate or 0.0), one.author))

    # --- changing --------------------------------------------------------------------------------------------------

    def begin(self, found: Finding, caps: Caps, *, by: str, now: datetime) -> Attempt | None:
        """Begin an attempt, unless a cap is reached, the tool is frozen, or another attempt of the tool is open."""
        try:
            with self._database.write() as connection:
                self._database.lock_tool(connection, _FIND_LOCK)
                if _is_capped(connection, found.tool_name, caps, now):
                    return None
                if freezes.is_frozen(connection, found.tool_name):
                    return None
                row = connection.execute(
                    sa.insert(a)
                    .values(
                        tool_name=found.tool_name,
                        kind=found.kind,
                        priority=found.priority,
                        base_version=found.base_version,
                        base_sha256=found.base_sha256,
                        budget=dict(found.budget),
                        idempotency_key=uuid.uuid4().hex,
                        state=State.FOUND,
                        created_at=now,
                        updated_at=now,
                    )
                    .returning(a)
                ).one()
                attempt = _attempt(row)
                events.add(connection, attempt, BEGIN, to_state=State.FOUND, by=by, reason=found.reason, at=now)
                return attempt
        except StoreConflict:  # another loop was faster
            return None

    def take(
        self, states: Collection[State], worker: str, *, after: int, now: datetime, until: datetime
    ) -> Attempt | None:
        """Take the next attempt in one of these states that nobody works on, with a number greater than `after`.

        Attempts of frozen tools are left alone, except those that are being deployed or are monitored.
        """
        free = sa.or_(a.c.leased_by.is_(None), a.c.leased_by == worker, a.c.leased_until <= now)
        with self._database.write() as connection:
            some = (
                sa.select(a.c.attempt_id)
                .where(a.c.state.in_(states), a.c.attempt_id > after, free)
                .where(sa.or_(~freezes.frozen(a.c.tool_name), a.c.state.in_((State.DEPLOYING, State.WATCHING))))
                .order_by(a.c.attempt_id)
                .limit(1)
            )
            if self._database.dialect == "postgresql":
                some = some.with_for_update(skip_locked=True)
            row = connection.execute(
                sa.update(a)
                .where(a.c.attempt_id == some.scalar_subquery())
                .values(leased_by=worker, leased_until=until, starts=a.c.starts + 1)
                .returning(a)
            ).one_or_none()
        return None if row is None else _attempt(row)

    def renew(self, attempt_id: int, worker: str, until: datetime) -> bool:
        """Keep an attempt for longer. Return False if another worker has taken it, or its state changed."""
        with self._database.write(durable=False) as connection:
            mine = sa.and_(a.c.attempt_id == attempt_id, a.c.leased_by == worker)
            return connection.execute(sa.update(a).where(mine).values(leased_until=until)).rowcount == 1

    def let_go(self, attempt_id: int, worker: str) -> None:
        """Stop working on an attempt whose state did not change."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                sa.update(a)
                .where(a.c.attempt_id == attempt_id, a.c.leased_by == worker)
                .values(leased_by=None, leased_until=None, starts=0)
            )

    def move(
        self,
        attempt: Attempt,
        step: Step,
        now: datetime,
        *,
        worker: str | None = None,
        conditions: Iterable[Condition] = (),
        keep_lease: bool = False,
    ) -> Attempt:
        """Change the state, with its event, if the attempt still is in the state of `attempt`.

        Args:
            worker: the stage that has taken it; None is a person, who waits for nobody.
            conditions: what else must hold, in the same transaction.
            keep_lease: whether the worker goes on with it.

        Raises:
            AttemptClosed: it is in another state by now, another worker has it, or a condition does not hold.
        """
        transition, ends = step.transition, step.transition.enters not in OPEN
        values = {**(step.values or {}), "state": transition.enters, "updated_at": now}
        values |= {"starts": 0} if keep_lease else {"leased_by": None, "leased_until": None, "starts": 0}
        if ends:
            values |= {"ended_at": now, "why": step.why}
        wanted = [a.c.attempt_id == attempt.attempt_id, a.c.state == attempt.state, a.c.state.in_(transition.leaves)]
        if worker is not None:
            wanted.append(a.c.leased_by == worker)
        with self._database.write() as connection:
            self._check(connection, attempt, transition, conditions, now)
            row = connection.execute(sa.update(a).where(*wanted).values(values).returning(a)).one_or_none()
            if row is None:
                raise AttemptClosed(_changed(connection, attempt, transition))
            moved = _attempt(row)
            events.add(
                connection,
                moved,
                transition.name,
                from_state=attempt.state,
                to_state=moved.state,
                by=step.by,
                reason=step.reason,
                details=step.details,
                at=now,
            )
            if step.notify is not None:
                outbox.add(connection, step.notify, now)
            return moved

    def _check(
        self,
        connection: Connection,
        attempt: Attempt,
        transition: Transition,
        conditions: Iterable[Condition],
        now: datetime,
    ) -> None:
        held = list(conditions)
        if not held:
            return
        self._database.lock_tool(connection, attempt.tool_name)
        for condition in held:
            problem = condition(Change(self._database, connection, attempt, now))
            if problem is not None:
                what = transition.name.replace("_", " ")
                raise AttemptClosed(f"attempt {attempt.attempt_id} of {attempt.tool_name} cannot {what} now: {problem}")


def _is_capped(connection: Connection, tool_name: str, caps: Caps, now: datetime) -> bool:
    """Return whether no attempt may begin. One that found out that there is nothing to improve costs nothing."""
    mine = sa.func.sum(sa.case((a.c.tool_name == tool_name, 1), else_=0))
    begun = sa.select(sa.func.count(), mine).where(a.c.created_at > now - _DAY, a.c.state != State.DROPPED)
    of_all, of_tool = connection.execute(begun).one()
    return of_all >= caps.of_all or (of_tool or 0) >= caps.of_tool or _spent(connection, now) >= caps.tokens


def _spent(connection: Connection, now: datetime) -> int:
    return int(connection.scalar(sa.select(sa.func.sum(a.c.tokens)).where(a.c.updated_at > now - _DAY)) or 0)


def _get(connection: Connection, attempt_id: int) -> Attempt:
    row = connection.execute(sa.select(a).where(a.c.attempt_id == attempt_id)).one_or_none()
    if row is None:
        raise UnknownAttempt(f"there is no attempt {attempt_id}; list them with: rollguard proposals")
    return _attempt(row)


def _changed(connection: Connection, attempt: Attempt, transition: Transition) -> str:
    now = _get(connection, attempt.attempt_id)
    what = transition.name.replace("_", " ")
    if now.state == attempt.state:
        return f"attempt {now.attempt_id} of {now.tool_name} cannot {what}: another loop works on it"
    return f"attempt {now.attempt_id} of {now.tool_name} cannot {what}: it is {now.state}"


def _record(author: str, rows: Sequence[Any]) -> TrackRecord:
    return TrackRecord(
        author,
        len(rows),
        sum(row.version_number is not None for row in rows),
        sum(row.state == State.SUCCEEDED for row in rows),
        sum(row.state in NOT_GOOD and row.why in (Why.ROLLED_BACK, Why.REGRESSED) for row in rows),
        sum(row.tokens for row in rows),
        sum(row.cost for row in rows),
    )


def _attempt(row: Row[Any]) -> Attempt:
    values = {name: getattr(row, name) for name in Attempt.__dataclass_fields__}
    values |= {
        "state": State(row.state),
        "why": None if row.why is None else Why(row.why),
        "evidence": row.evidence or {},
        "budget": row.budget or {},
        "reasons": tuple(row.reasons or ()),
    }
    return Attempt(**values)
