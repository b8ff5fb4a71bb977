"""Make a brief from what investigations and rehearsals hold, with shown calls alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from rollguard.compat import function_name, is_package, place_of, read
from rollguard.compat.scope import parsed
from rollguard.errors import InvalidInput
from rollguard.improve.brief import Attempt, Brief, Case, Recovered
from rollguard.improve.secrets import hidden_in, without
from rollguard.improve.transient import recovered
from rollguard.investigate import Investigator, Report, in_words
from rollguard.investigate.evidence import parameters_of, version_at
from rollguard.investigate.investigator import LOOKBACK_DAYS
from rollguard.model.given import checked_now
from rollguard.rehearse import Call, Candidate, Rehearser, strategy_of
from rollguard.rehearse.calls import NO_RESULT, digest_of
from rollguard.rehearse.noise import canonical
from rollguard.store import ExecutionStore

_READ = 1_000  # calls of each outcome that are read for errors that pass by themselves


class Briefer:
    """Makes briefs.

    Args:
        store: the recorded calls and the versions.
        rehearser: chooses the recorded calls, and holds some of them out.
        investigator: finds the causes in the others.
    """

    def __init__(self, store: ExecutionStore, rehearser: Rehearser, investigator: Investigator) -> None:
        self._store, self._rehearser, self._investigator = store, rehearser, investigator

    def brief(
        self, tool_name: str, *, attempts: Iterable[Attempt] = (), draw: int = 0, now: datetime | None = None
    ) -> Brief:
        """Return what an author gets to know about a tool.

        Calls that a rehearsal with the same `draw` holds out are left out of everything in it: the causes are searched
        anew among the others.

        Args:
            tool_name: the tool.
            attempts: earlier proposals for the same cause; see `Rehearsal.for_author`.
            draw: the number that a rehearsal of the proposal will be given.
            now: the present moment; the clock's by default.

        Raises:
            UnknownTool: the tool has no live version.
            InvalidInput: the live source is not UTF-8, or not Python.
            StoreError: the calls cannot be read.
        """
        moment = checked_now(now)
        candidate = self._rehearser.candidate(tool_name, draw=draw, now=moment)
        held_out = {digest_of(call.parameters) for call in candidate.chosen.calls if call.held_out}

        def is_held_out(parameters: Any) -> bool:
            return isinstance(parameters, dict) and digest_of(parameters) in held_out

        report = self._investigator.investigate(tool_name, now=moment, keep=False, leave_out=is_held_out)
        return brief_for(
            report,
            candidate,
            self._store,
            recovered=self._recovered(tool_name, moment, is_held_out),
            attempts=attempts,
        )

    def _recovered(self, tool_name: str, now: datetime, is_held_out: Callable[[Any], bool]) -> tuple[Recovered, ...]:
        since = now - timedelta(days=LOOKBACK_DAYS)
        failed, passed = (
            [
                call
                for call in self._store.samples.of(tool_name, since, now, _READ, failed=which)
                if not is_held_out(parameters_of(call))
            ]
            for which in (True, False)
        )
        version_of = version_at(self._store.versions.deployments(tool_name))
        return recovered(failed, passed, parameters_of, version_of)


def brief_for(
    report: Report,
    candidate: Candidate,
    store: ExecutionStore,
    *,
    recovered: Sequence[Recovered] = (),
    attempts: Iterable[Attempt] = (),
) -> Brief:
    """Return the brief that a report and the calls of a rehearsal make.

    Args:
        report: of an investigation of shown calls alone; see `Briefer`.
        candidate: what the rehearsal will go by: the live source, its calls and rules. Those held out are left out.
        store: the versions, and what is a secret.
        recovered: errors after which the same input passed.
        attempts: earlier proposals for the same cause.

    Raises:
        InvalidInput: the live source is not UTF-8, or not Python.
    """
    tool_name = candidate.tool_name
    if is_package(candidate.old) or place_of(candidate.old, tool_name).several:
        raise InvalidInput(f"{tool_name}: it is in a package or beside other tools, so a person has to improve it")
    try:
        source = candidate.old.decode("utf-8")
        parsed(source)
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "Python"
        raise InvalidInput(f"{tool_name}: its live source is not {kind}, so no author can be given it") from error
    hidden = hidden_in(source, store.redaction)

    def text(given: str) -> str:
        return candidate.shown.text(without(given, hidden))

    live = store.versions.live(tool_name)
    shown = sorted((call for call in candidate.chosen.calls if not call.held_out), key=_size)
    found = report.source or {"text": "", "diff": ""}
    return Brief(
        tool_name=tool_name,
        function=function_name(tool_name),
        made_at=report.investigated_at,
        base_version=None if live is None else live.version_number,
        base_sha256=hashlib.sha256(candidate.old).hexdigest(),
        source=without(source, hidden),
        calls=report.calls,
        failures=report.failures,
        causes=tuple({**cause.to_dict(), "text": text(in_words(cause))} for cause in report.causes),
        signatures=tuple(_signature(entry, text) for entry in report.signatures),
        since_version=_since(report),
        code=text(found["text"]),
        diff=text(found["diff"]),
        smallest=report.smallest,
        failing=tuple(_case(call, text) for call in shown if not call.success),
        passing=tuple(_case(call, text) for call in shown if call.success),
        recovered=tuple(recovered),
        declared=_declared(candidate),
        parameters=tuple(_parameters(without(source, hidden), tool_name)),
        keep=tuple(_keep(candidate)),
        attempts=tuple(attempts),
        notes=tuple(map(text, report.notes)),
        hidden=hidden,
    )


def _size(call: Call) -> tuple[int, str]:
    written = canonical(call.parameters)
    return len(written), written


def _case(call: Call, text: Callable[[str], str]) -> Case:
    return Case(
        call_id=call.call_id,
        parameters=call.parameters,
        success=bool(call.success),
        result=None if call.result is NO_RESULT else json.dumps(call.result, ensure_ascii=False),
        signature=text(call.signature) if call.signature else None,
        error=text(call.error) if call.error else None,
        traceback=text(call.traceback) if call.traceback else None,
    )


def _signature(entry: dict[str, Any], text: Callable[[str], str]) -> dict[str, Any]:
    place = entry["failed_at"]
    return {
        "signature": text(entry["signature"]),
        **{name: entry[name] for name in ("error_type", "count", "version_number")},
        "failed_at": None if place is None else {**place, "text": text(place["text"])},
    }


def _since(report: Report) -> int | None:
    """Return the version that brought the failures, if that is the first cause."""
    first = report.causes[0]
    if first.kind != "version" or len(first.parts) != 1 or first.parts[0].test != ">=":
        return None
    return int(first.parts[0].operand)


def _declared(candidate: Candidate) -> dict[str, Any]:
    tool = candidate.tool
    strategy, why = strategy_of(tool, candidate.rules.grants)
    return {
        "read_only": tool.read_only,
        "idempotent": tool.idempotent,
        "side_effects": None if tool.side_effects is None else list(tool.side_effects),
        "requires": list(tool.requires),
        "strategy": strategy.value,
        "why": why,
    }


def _parameters(source: str, tool_name: str) -> Iterable[dict[str, Any]]:
    tool = read(source, tool_name).tool
    for one in tool.parameters if tool else ():
        yield {
            "name": one.name,
            "kind": one.kind.value,
            "required": one.required,
            "annotation": one.annotation,
            "default": one.default,
        }


def _keep(candidate: Candidate) -> Iterable[str]:
    """Yield what the gate refuses, so that an author knows it before."""
    rules = candidate.rules
    tool = read(candidate.old, candidate.tool_name).tool
    name = tool.name if tool else function_name(candidate.tool_name)
    yield f"The tool stays {name}, with the same parameters, defaults, annotations and result type."
    yield "Calls that succeed today return the same as before. Errors of wrong input stay errors."
    yield "Errors are not hidden: no catching of everything, no constant results, no errors returned as results."
    yield "No value of a single recorded call stands in the source: fix the class of inputs."
    yield f"At most {rules.max_changed_lines} lines are added and removed. Change only what the cause needs."
    yield "New use of the network, files, processes, os, sys or eval leaves the decision to a person."
    if rules.forbidden_imports:
        yield f"These may not be imported anew: {', '.join(rules.forbidden_imports)}."
    if rules.forbidden_paths:
        yield f"No new text may begin with: {', '.join(rules.forbidden_paths)}."
