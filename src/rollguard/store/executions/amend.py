"""Amend stored executions: an outcome or a score that is known only later. The counts follow, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rollguard.errors import AmendmentRefused, InvalidInput, InvalidSetting, UnknownExecution
from rollguard.model.execution import Execution
from rollguard.model.names import checked_id
from rollguard.store.database.engine import Database
from rollguard.store.executions.ids import moment_of
from rollguard.store.monitoring import sessions
from rollguard.store.rollups.refresh import Amended, hold_still, recount
from rollguard.store.schema import execution_keys, rollouts, tool_executions

_LONGEST = 7 * 86_400.0
_t = tool_executions.c
_FIND = sa.select(tool_executions).where(_t.execution_id == sa.bindparam("execution"))
_FIND_AT = _FIND.where(_t.executed_at == sa.bindparam("moment")).with_for_update()
_KEY = sa.select(execution_keys.c.executed_at).where(execution_keys.c.execution_id == sa.bindparam("execution"))
_SESSION = sa.select(rollouts.c.session_id).where(rollouts.c.rollout_id == sa.bindparam("rollout"))
_UPDATE = sa.update(tool_executions).where(_t.id == sa.bindparam("row"), _t.executed_at == sa.bindparam("moment"))


class Amendments:
    """Amends executions of the table `tool_executions`.

    Args:
        within_seconds: how long after an execution's end it may be amended, 0 to 604800 (a week).

    Raises:
        InvalidSetting: that is out of its range.
    """

    def __init__(self, database: Database, within_seconds: float) -> None:
        if isinstance(within_seconds, bool) or not 0 <= within_seconds <= _LONGEST:
            raise InvalidSetting("amend_within_seconds", f"{within_seconds!r} is not a number of seconds, 0 to 604800")
        self._database, self._within = database, timedelta(seconds=within_seconds)

    def apply(self, execution_id: str, outcome: Execution | None, score: float | None, now: datetime) -> bool:
        """Amend an execution; return whether that changes anything. See `ExecutionStore.amend`.

        Args:
            outcome: a complete execution with the new `success`, `error` and `error_type`; None leaves them.
            score: None leaves it.
        """
        with self._database.write() as connection:
            hold_still(connection)
            row = _find(connection, execution_id)
            values: dict[str, Any] = {} if score is None else {"score": float(score)}
            if outcome is not None:
                values |= _outcome_of(outcome, row)
            if all(getattr(row, name) == value for name, value in values.items()):
                return False
            if row.rollout_id is not None and values.get("success", row.success) != row.success:
                _refuse_counted(connection, row, now)
            if now > row.executed_at + timedelta(milliseconds=row.duration_ms or 0.0) + self._within:
                _refuse_late(row, self._within)
            connection.execute(_UPDATE.values(values), {"row": row.id, "moment": row.executed_at})
            before = {name: getattr(row, name) for name in Amended._fields}
            after = before | {name: value for name, value in values.items() if name in before}
            recount(connection, row.id, row.executed_at, Amended(**before), Amended(**after))
        return True


def checked_amendment(execution_id: object, success: object, score: object, reason: object) -> str:
    """Return the id of the execution to amend, or raise `InvalidInput` if the amendment says nothing or is unclear."""
    if success is None and score is None:
        raise InvalidInput("success, score: both are missing; an amendment gives at least one of them")
    if reason is not None and (success is None or success):
        raise InvalidInput("reason: it says why an execution failed, so it needs success=False")
    return checked_id("execution_id", execution_id)


def _outcome_of(outcome: Execution, row: sa.Row[Any]) -> dict[str, Any]:
    if outcome.success:
        return {"success": True, "error": None, "error_type": None, "failed_at": None, "traceback": None}
    if outcome.error is None:  # it fails for the reason that is stored, if there is one
        return {"success": False, "error": row.error, "error_type": row.error_type}
    return {"success": False, "error": outcome.error, "error_type": outcome.error_type}


def _find(connection: Connection, execution_id: str) -> sa.Row[Any]:
    given: dict[str, Any] = {"execution": execution_id}
    if connection.dialect.name == "sqlite":
        row = connection.execute(_FIND, given).one_or_none()
    else:  # the id is unique across the partitions, and its time says in which one it is
        moment = moment_of(execution_id) or connection.scalar(_KEY, given)
        row = connection.execute(_FIND_AT, given | {"moment": moment}).one_or_none() if moment else None
    if row is None:
        raise UnknownExecution(
            f"there is no stored execution {execution_id!r}; one that was just recorded is stored a moment later. "
            "List those of a tool with: rollguard calls TOOL --json"
        )
    return row


def _refuse_counted(connection: Connection, row: sa.Row[Any], now: datetime) -> None:
    """Refuse to change the outcome of a call beside another version once it may be counted."""
    session_id = connection.scalar(_SESSION, {"rollout": row.rollout_id})
    seconds = 0.0 if session_id is None else sessions.get(connection, session_id).rules.rollout_amend_seconds
    if now > row.executed_at + timedelta(seconds=seconds):
        raise AmendmentRefused(
            f"execution {row.execution_id!r} of {row.tool_name} was given to one of two versions by chance, and its "
            "outcome is counted; to amend such outcomes set rollout_amend_seconds, which delays their count by as much"
        )


def _refuse_late(row: sa.Row[Any], within: timedelta) -> NoReturn:
    raise AmendmentRefused(
        f"execution {row.execution_id!r} of {row.tool_name} began at {row.executed_at.isoformat()}, and may be amended "
        f"for {within} after its end; to amend later ones set record.amend_within_seconds"
    )
