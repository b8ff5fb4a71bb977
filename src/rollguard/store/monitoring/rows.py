"""Rows of `deployment_monitoring` as sessions. Another program may have written anything into them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy.engine import Row

from rollguard.errors import InvalidInput, InvalidSetting, StoreError
from rollguard.judge import EarlierVersions, LeftOut, Rules, Window
from rollguard.model.log import logger_of
from rollguard.model.session import Session
from rollguard.store.schema import deployment_monitoring as m

logger = logger_of(__name__)

# The rules with a column of their own in the contract; the others are the JSON in `rules`.
_OWN_COLUMN = ("monitoring_window_hours", "baseline_window_days", "regression_threshold")
_stored_rules = attrgetter(*_OWN_COLUMN, m.c.rules.name)


def columns_of(rules: Rules) -> dict[str, Any]:
    """Return rules as the columns of a session."""
    values = rules.to_dict()
    own = {name: values.pop(name) for name in _OWN_COLUMN}
    return {**own, "rules": as_json(values)}


def as_json(value: Any) -> str:
    """Return JSON as it is stored."""
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=1_024)  # most sessions are judged by the same rules
def _rules(*stored: Any) -> tuple[Rules, str | None]:
    """Return a session's rules, and why they are invalid, because another program may have written them."""
    own = dict(zip(_OWN_COLUMN, stored, strict=False))
    try:
        return Rules().with_overrides(_parsed(stored[-1]) | own), None
    except InvalidSetting as error:
        with suppress(InvalidSetting):
            return Rules(**own), str(error)
        return Rules(), str(error)


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSetting("rules", f"{text[:80]!r} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidSetting("rules", f"{text[:80]!r} is not a JSON object")
    for name in _OWN_COLUMN:
        if name in values:
            raise InvalidSetting(f"rules.{name}", "it has a column of its own")
    return values


def _baseline(kept: Any) -> Window:
    window = Window.from_dict(kept)
    counts = [window.total, window.successes, window.timed, *chain.from_iterable(window.histogram)]
    if set(map(type, counts)) != {int} or not math.isfinite(window.duration_sum_ms):
        raise ValueError("it holds what is no number")
    return window


_Kept = TypeVar("_Kept")


def _kept(column: str, text: str | None, read: Callable[[Any], _Kept]) -> tuple[_Kept | None, str | None]:
    """Return what a check kept in a JSON column, and why it is invalid, because another program may have written it."""
    if text is None:
        return None, None
    try:
        return read(json.loads(text)), None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, InvalidInput) as error:
        return None, f"{column}: {text[:80]!r} is none that a check kept ({error}); set it to NULL"


@lru_cache(maxsize=16_384)  # they hardly change, and every cycle reads those of every session
def _found(left_out: str | None, earlier: str | None) -> tuple[LeftOut | None, EarlierVersions | None, str | None]:
    """Return what was found of the calls before a session, and why it is invalid."""
    out, invalid_out = _kept("left_out", left_out, LeftOut.from_dict)
    versions, invalid_versions = _kept("earlier_versions", earlier, EarlierVersions.from_dict)
    return out, versions, invalid_out or invalid_versions


def _notes(text: str | None) -> tuple[str, ...]:
    try:
        notes = [] if text is None else json.loads(text)
    except (TypeError, ValueError, RecursionError):
        notes = None
    if not isinstance(notes, list):
        return (f"what is mixed in it is not known: baseline_notes is {str(text)[:80]!r}",)
    return tuple(map(str, notes))


def readable(rows: Iterable[Row[Any]]) -> list[Session]:
    """Return sessions without those whose rows another program made unreadable; each is logged."""
    sessions = []
    for row in rows:
        try:
            sessions.append(session_of(row))
        except StoreError as error:
            logger.error("it is left out: %s", error)
    return sessions


def session_of(row: Row[Any]) -> Session:
    """Return the session of a row.

    Raises:
        StoreError: another program made the row unreadable.
    """
    if not isinstance(row.tool_name, str) or None in (row.deployment_time, row.monitoring_started_at):
        raise StoreError(f"session {row.session_id} cannot be read; correct or delete its row in deployment_monitoring")
    rules, invalid_rules = _rules(*_stored_rules(row))
    baseline, invalid_baseline = _kept("baseline", row.baseline, _baseline)
    left_out, earlier, invalid_found = _found(row.left_out, row.earlier_versions)
    return Session(
        session_id=row.session_id,
        tool_name=row.tool_name,
        deployment_time=row.deployment_time,
        monitoring_started_at=row.monitoring_started_at,
        status=row.status,
        completed_at=row.completed_at,
        notes=row.notes,
        version_number=row.version_number,
        live_before=row.live_before,
        outcome=row.outcome,
        rules=rules,
        invalid_rules=invalid_rules or invalid_baseline or invalid_found,
        baseline=baseline,
        baseline_notes=_notes(row.baseline_notes),
        left_out=left_out,
        earlier_versions=earlier,
        creeping=row.creeping,
        release_id=row.release_id,
    )
