"""Many executions checked at once, column by column: that takes half the time of one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from types import NoneType
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.model.names import checked_id, checked_tool_name
from rollguard.store.executions.bulk_insert import COLUMNS
from rollguard.store.executions.ids import new_id
from rollguard.store.executions.payloads import Payloads
from rollguard.store.executions.validate import FIELDS, KNOWN, LONGEST, checked_error, moment_beside

_MUST = {"tool_name": str, "success": bool}
_MAY = {"duration_ms": float, "executed_at": datetime, "version_number": int, "execution_id": str, "request_id": str}


def checked_columns(executions: Sequence[Mapping[str, Any]], payloads: Payloads) -> Iterator[tuple[Any, ...]] | None:
    """The rows, as tuples of `COLUMNS`, of executions given as mappings.

    Returns:
        None where a value is out of the ordinary: such executions are to be checked one by one, which makes of it what
        it can, and says what is wrong where it cannot, and of which.
    """
    try:
        return _checked(executions, payloads)
    except InvalidInput:
        return None


def _checked(executions: Sequence[Mapping[str, Any]], payloads: Payloads) -> Iterator[tuple[Any, ...]] | None:
    if set(map(type, executions)) != {dict}:
        return None
    fields = set(chain.from_iterable(executions))
    if not KNOWN.issuperset(fields):
        return None
    given: dict[str, list[Any]] = {
        field: [execution.get(field) for execution in executions] if field in fields else [None] * len(executions)
        for field in FIELDS
    }
    if not _are_ordinary(given):
        return None
    names = given["tool_name"]
    for name in set(names):
        checked_tool_name(name)
    for request_id in set(given["request_id"]) - {None}:
        checked_id("request_id", request_id)
    for what in ("parameters", "result"):
        given[what] = [
            None if value is None else payloads.encode(name, what, value)
            for name, value in zip(names, given[what], strict=True)
        ]
    _check_ids(given)
    _check_errors(given)
    return zip(*(given[column] for column in COLUMNS), strict=True)


def _are_ordinary(given: Mapping[str, list[Any]]) -> bool:
    return (
        all(set(map(type, given[field])) == {kind} for field, kind in _MUST.items())
        and all({kind, NoneType}.issuperset(map(type, given[field])) for field, kind in _MAY.items())
        and all(duration is None or 0.0 <= duration <= LONGEST for duration in given["duration_ms"])
        and all(number is None or 1 <= number < 2**31 for number in set(given["version_number"]))
        and all(moment is None or moment.tzinfo is UTC for moment in given["executed_at"])
    )


def _check_ids(given: dict[str, list[Any]]) -> None:
    """Every execution has a time and an id; one of ours that is given holds the time."""
    ids, moments = given["execution_id"], given["executed_at"]
    for place, (execution_id, moment) in enumerate(zip(ids, moments, strict=True)):
        if execution_id is not None:
            moments[place] = moment_beside(checked_id("execution_id", execution_id), moment)
        elif moment is None:
            moments[place] = datetime.now(UTC)
    given["execution_id"] = [
        new_id(moment) if execution_id is None else execution_id
        for execution_id, moment in zip(ids, moments, strict=True)
    ]


def _check_errors(given: dict[str, list[Any]]) -> None:
    errors, types = given["error"], given["error_type"]
    for place, (error, error_type) in enumerate(zip(errors, types, strict=True)):
        if error is not None or error_type is not None:
            types[place], errors[place] = checked_error(error, error_type)
