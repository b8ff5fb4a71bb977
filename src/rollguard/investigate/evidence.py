"""Turn stored calls into what the search for causes takes, and failures into signatures. Pure."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from rollguard.investigate.causes import Call
from rollguard.judge.error_signatures import Failed, investigate
from rollguard.model.execution import Execution
from rollguard.model.failed_at import place_of
from rollguard.model.version import Deployment

Times = tuple[datetime, datetime]
_SHOWN = 500  # characters of a text in a sample


def version_at(deployments: Sequence[Deployment]) -> Callable[[Execution], int | None]:
    """Return a function that says which version a call ran: the one it names, else the one that was live."""
    lives = sorted(deployments, key=lambda one: one.deployed_at)
    begins = [one.deployed_at for one in lives]

    def of(call: Execution) -> int | None:
        if call.version_number is not None or call.executed_at is None:
            return call.version_number
        place = bisect_right(begins, call.executed_at)
        return lives[place - 1].version_number if place else None

    return of


def parameters_of(call: Execution) -> Any:
    """Return the parameters of a call as JSON values; None if they were not stored as a whole."""
    try:
        found = json.loads(call.parameters) if isinstance(call.parameters, str) else None
    except (ValueError, RecursionError):  # what another program wrote
        return None
    if isinstance(found, dict) and ("redaction_failed" in found or {"truncated", "beginning"} == set(found)):
        return None
    return found


def as_call(call: Execution, version: int | None, outages: Sequence[Times]) -> Call:
    """Return a stored call as the search for causes takes it."""
    at = call.executed_at
    context: dict[str, Any] = {
        "version": version,
        "hour": None if at is None else at.hour,
        "size": len(call.parameters) if isinstance(call.parameters, str) else None,
        "request": call.request_id,
        "outside": at is not None and any(start <= at < end for start, end in outages),
    }
    return Call(not call.success, parameters_of(call), context)


def failed(call: Execution, version: int | None) -> Failed:
    """Return a failure as signatures are made of, with a sample of it."""
    sample = {
        "execution_id": call.execution_id,
        "executed_at": None if call.executed_at is None else call.executed_at.isoformat(),
        "version_number": version,
        "error": _short(call.error),
        "parameters": _short(call.parameters),
    }
    return Failed(call.error_type, call.error, sample, place_of(call.failed_at))


def signatures_of(failures: Sequence[Execution], of_version: Callable[[Execution], int | None]) -> list[dict[str, Any]]:
    """Count failures by their signature, the most frequent first.

    Args:
        failures: the latest first.
        of_version: says which version a call ran.

    Returns:
        For each: `signature`, `error_type`, `failed_at`, `count`, `first_seen`, `last_seen`, `version_number` (the one
        that brought it) and `samples`.
    """
    found = investigate((), [failed(call, of_version(call)) for call in failures])
    seen: dict[str, list[Execution]] = {}
    for call in failures:
        seen.setdefault(failed(call, None).name, []).append(call)
    return [
        {
            **{name: entry[name] for name in ("signature", "error_type", "failed_at", "count")},
            "first_seen": _moment(seen[entry["signature"]][-1]),
            "last_seen": _moment(seen[entry["signature"]][0]),
            "version_number": of_version(seen[entry["signature"]][-1]),
            "samples": entry["samples"],
        }
        for entry in found
    ]


def _moment(call: Execution) -> str | None:
    return None if call.executed_at is None else call.executed_at.isoformat()


def _short(text: Any) -> str:
    return text[:_SHOWN] if isinstance(text, str) else ""
