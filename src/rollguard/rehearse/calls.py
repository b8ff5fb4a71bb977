"""Choose the recorded calls that can be run again, and hold some of them out. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollguard.judge import UNCOUNTED
from rollguard.judge.error_signatures import signature
from rollguard.model.execution import Execution
from rollguard.model.redaction import REDACTED
from rollguard.rehearse.noise import canonical
from rollguard.rehearse.places import leaves

HELD_OUT = 0.3
"""The share of the calls that a candidate's author never sees."""
NO_RESULT: Any = object()
_NO_FORM = ("<circular>", "<deeper than ")
_ARGUMENT_ERRORS = ("TypeError", "ValidationError")
_NO_OUTCOME = (*UNCOUNTED, "ProcessEnded")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that can be run again.

    Attributes:
        call_id: the id of the execution.
        parameters: what the tool was called with.
        success: whether it succeeded then; None if it was not recorded.
        result: what it returned then, a JSON value; `NO_RESULT` if that is not known.
        signature: what went wrong then.
        held_out: whether the candidate's author never sees it.
        error, traceback: the texts of the failure, if they were recorded.
    """

    call_id: str
    parameters: dict[str, Any]
    success: bool | None
    result: Any = NO_RESULT
    signature: str | None = None
    held_out: bool = False
    error: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The calls of a rehearsal.

    Attributes:
        calls: those that are run again, each input once.
        unfit: how many others cannot be, by the reason.
        repeated: how many others have the same input as one of `calls`.
    """

    calls: tuple[Call, ...]
    unfit: dict[str, int]
    repeated: int = 0


def choose(
    executions: Iterable[Execution],
    *,
    required: Iterable[str] = (),
    unknown: Sequence[str] = (),
    limit: int = 50,
    draw: int = 0,
    seen: Collection[str] = (),
) -> Chosen:
    """Return the calls to run again, at most `limit`: failures and successes in equal parts, if there are enough.

    Of the failures, each kind is taken in turn. Calls are held out by their input alone, so that the same ones are at
    each try.

    Args:
        executions: the recorded calls, latest first.
        required: the parameters that every call must give; one that was not recorded comes from the tool's framework.
        unknown: the parameters that the tool's `@tool` leaves out of each call: what a caller gave is not known.
        limit: the most calls.
        draw: another number holds other calls out.
        seen: the digests of inputs that the candidate's author saw; they are never held out.
    """
    unfit: Counter[str] = Counter()
    found: dict[str, Call] = {}
    repeated = 0
    for execution in executions:
        call, reason = _call(execution, frozenset(required), unknown)
        if call is None:
            unfit[reason] += 1
            continue
        key = canonical(call.parameters)
        known = found.get(key)
        repeated += known is not None
        if known is None or (known.success and not call.success):  # what failed once is a failure to look at
            found[key] = call
    failures = _in_turn([call for call in found.values() if not call.success])
    successes = [call for call in found.values() if call.success]
    most = max(limit - len(successes), limit // 2)
    taken = failures[:most]
    taken += successes[: limit - len(taken)]
    return Chosen(tuple(_held_out(taken, draw, seen)), dict(unfit), repeated)


def _call(execution: Execution, required: frozenset[str], unknown: Sequence[str]) -> tuple[Call | None, str]:
    """Return the call, or None and why it cannot be run again."""
    parameters = _loaded(execution.parameters) if isinstance(execution.parameters, str) else NO_RESULT
    reason = _unfit(execution, parameters, required, unknown)
    if reason:
        return None, reason
    result = _loaded(execution.result) if execution.success and isinstance(execution.result, str) else NO_RESULT
    if _is_cut(result) or _is_redacted(result):
        result = NO_RESULT
    failed = None if execution.success else signature(execution.error_type, execution.error)
    return (
        Call(
            str(execution.execution_id),
            parameters,
            bool(execution.success),
            result,
            failed,
            error=execution.error,
            traceback=execution.traceback,
        ),
        "",
    )


def _unfit(execution: Execution, parameters: Any, required: frozenset[str], unknown: Sequence[str]) -> str:
    """Return why a call cannot be run again; empty if it can."""
    failed_for_arguments = not execution.success and execution.error_type in _ARGUMENT_ERRORS
    texts = [text for _place, text in leaves(parameters) if isinstance(text, str)]
    reasons = (
        (not execution.success and execution.error_type in _NO_OUTCOME, "it was given up before it ended"),
        (not isinstance(execution.parameters, str), "its parameters were not stored"),
        (not isinstance(parameters, dict), "its parameters are not a JSON object"),
        (_is_cut(parameters), "its parameters were cut"),
        (_is_redacted(parameters), "its parameters were redacted"),
        (any(map(has_no_form, texts)), "a parameter has no form in JSON"),
        (
            isinstance(parameters, dict) and not required <= parameters.keys() and not failed_for_arguments,
            "a parameter was not recorded: a framework gives it",
        ),
        (unknown, f"a parameter was not recorded: `@tool` leaves out {', '.join(unknown)}"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NO_RESULT


def _is_cut(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"truncated", "beginning"} and value["truncated"] is True


def _is_redacted(value: Any) -> bool:
    if isinstance(value, dict) and set(value) == {"redaction_failed"}:
        return True
    return any(isinstance(text, str) and REDACTED in text for _place, text in leaves(value))


def has_no_form(text: str) -> bool:
    """Return whether a text stands for a value that JSON cannot hold, such as `<Connection>`."""
    name = text[1:-1].replace(".", "")
    return text.startswith(_NO_FORM) or (text.startswith("<") and text.endswith(">") and name.isidentifier())


def digest_of(parameters: Any) -> str:
    """Return the digest of an input, equal for equal ones."""
    return hashlib.sha256(canonical(parameters).encode()).hexdigest()


def _in_turn(failures: Sequence[Call]) -> list[Call]:
    """Return failures so that each kind is among the first ones."""
    seen: Counter[str | None] = Counter()
    order = []
    for number, call in enumerate(failures):
        order.append((seen[call.signature], number, call))
        seen[call.signature] += 1
    return [call for _turn, _number, call in sorted(order, key=lambda entry: entry[:2])]


def _held_out(calls: Sequence[Call], draw: int, seen: Collection[str]) -> list[Call]:
    """Hold out a fixed share of the failures and of the successes, by their inputs, of those that nobody saw."""
    by_hash = sorted(
        (hashlib.sha256(f"{draw}:{canonical(call.parameters)}".encode()).digest(), number)
        for number, call in enumerate(calls)
    )
    out = set()
    for success in (False, True):
        group = [number for _digest, number in by_hash if calls[number].success is success]
        unseen = [number for number in group if digest_of(calls[number].parameters) not in seen]
        out.update(unseen[: max(int(len(group) * HELD_OUT), len(group) > 2)])
    return [replace(call, held_out=number in out) for number, call in enumerate(calls)]
