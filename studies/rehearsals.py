"""The tables of docs/rehearse.md: what the gate lets pass, and how often noise alarms it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from rollguard.model.execution import Execution
from rollguard.rehearse import Candidate, Chosen, RehearsalRules, Verdict, choose, rehearse
from rollguard.rehearse.rehearsal import Rehearsal
from rollguard.sandbox.outcome import Limits, OutcomeKind
from studies import noisy_tools
from studies.repairs import all_mutants, gaming, overfitted, run_here, traffic, wrong
from studies.small_tools import TOOLS, SmallTool

RULES = RehearsalRules(read_only=True)
_CALLS = 300
_EACH = 3  # repairs of each kind and tool
_KINDS = ("mutants", "overfitted", "gaming", "right")


def calls_of(tool: SmallTool) -> Chosen:
    """Return the recorded calls of a tool for its rehearsal."""
    inputs = traffic(tool, Random(tool.name), _CALLS)
    outcomes = run_here(tool.source().encode(), tool.name, inputs, Limits())
    return choose(
        Execution(
            tool_name=tool.name,
            success=outcome.kind is OutcomeKind.RETURNED,
            parameters=json.dumps(given),
            result=outcome.result,
            error_type=outcome.error_type,
            error=outcome.error,
            execution_id=f"call {number}",
        )
        for number, (given, outcome) in enumerate(zip(inputs, outcomes, strict=True))
    )


def repairs_of(tool: SmallTool, number: int, chosen: Chosen) -> Iterator[tuple[str, str]]:
    """Yield (kind, source) of each repair."""
    chance = Random(f"{tool.name} repairs")
    shown = [call for call in chosen.calls if not call.held_out]
    recorded = [call.result for call in chosen.calls if call.success]
    games = gaming(tool, recorded)
    turned = [games[(_EACH * number + at) % len(games)] for at in range(len(games))]
    for kind, sources in (
        ("mutants", all_mutants(tool, chance)),
        ("overfitted", overfitted(tool, shown)),
        ("gaming", turned),
    ):
        yield from ((kind, source) for source in wrong(tool, sources, _EACH))
    yield from (("right", tool.source(fix)) for fix in tool.fixes[:_EACH])


def rehearsed(tools: Sequence[SmallTool]) -> Iterator[tuple[str, SmallTool, str, Rehearsal]]:
    """Yield (kind, tool, source, rehearsal) of each repair of each tool."""
    for number, tool in enumerate(tools):
        chosen = calls_of(tool)
        old = tool.source().encode()
        for kind, source in repairs_of(tool, number, chosen):
            yield kind, tool, source, rehearse(Candidate(tool.name, old, source.encode(), chosen, RULES), run_here)


def gate(tools: int) -> tuple[list[str], list[list[str]]]:
    """What passes: wrong and right repairs of small tools."""
    counts = {kind: [0] * 6 for kind in _KINDS}
    for kind, tool, source, done in rehearsed(TOOLS[:tools]):
        said = counts[kind]
        said[0] += 1
        said[1 + list(Verdict).index(done.verdict)] += 1
        agrees, passes = others(tool, source)
        said[4] += agrees
        said[5] += passes
    wrong = [sum(each) for each in zip(*(counts[kind] for kind in _KINDS[:3]), strict=True)]
    rows = [("wrong: mutants", counts["mutants"]), ("wrong: overfitted", counts["overfitted"])]
    rows += [("wrong: gaming", counts["gaming"]), ("wrong, all", wrong), ("right", counts["right"])]
    columns = [
        "repairs",
        "number",
        "pass",
        "refused",
        "left to a person",
        "95 % agreement: pass",
        "recorded cases: pass",
    ]
    return columns, [[name, str(said[0]), *(share(n, said[0]) for n in said[1:])] for name, said in rows]


def others(tool: SmallTool, source: str) -> tuple[bool, bool]:
    """Return whether a repair passes "95 % agreement where the live version succeeds", and "recorded cases pass"."""
    chosen = [call for call in calls_of(tool).calls if not call.held_out]  # these rules hold nothing out
    inputs = [call.parameters for call in chosen]
    old, new = (run_here(code.encode(), tool.name, inputs, Limits()) for code in (tool.source(), source))
    good = [(a, b) for a, b in zip(old, new, strict=True) if a.kind is OutcomeKind.RETURNED]
    agreed = sum(a.kind is b.kind and json.loads(a.result or "0") == json.loads(b.result or "0") for a, b in good)
    succeeds = sum(b.kind is OutcomeKind.RETURNED for b in new)
    regressed = any(b.kind is not OutcomeKind.RETURNED for _, b in good)
    return agreed >= 0.95 * len(good), succeeds >= 0.9 * len(new) and not regressed


def share(number: int, total: int) -> str:
    """Return a share as text."""
    return f"{number / total:.3f}" if total else "–"


# --- noise -----------------------------------------------------------------------------------------------------------


def noise(rounds: int) -> tuple[list[str], list[list[str]]]:
    """False alarms with the live version itself as candidate, and whether one changed text is found, of noisy tools."""
    rows, total = [], [0] * 4
    for name, source, inputs in noisy_tools.TOOLS:
        changed = source.replace(b":\n", b":\n    key = key.upper()\n", 1)
        found = [0] * 4
        for number in range(rounds):
            for at, new in enumerate((source + b"\n", changed)):
                run = noisy_tools.Running(Random(f"{name} {number} {at}"))
                calls = tuple(noisy_tools.recorded(source, inputs, run))
                candidate = Candidate(noisy_tools.NAME, source, new, Chosen(calls, {}), RULES, must_fix=False)
                done = rehearse(candidate, run)
                found[2 * at] += any(reason.check in ("broken", "changed", "flaky") for reason in done.reasons)
                found[2 * at + 1] += diffy(source, new, [call.parameters for call in calls], run)
        rows.append([name, str(rounds), *(share(count, rounds) for count in found)])
        total = [sum(each) for each in zip(total, found, strict=True)]
    every = rounds * len(rows)
    rows.append(["all", str(every), *(share(count, every) for count in total)])
    alarms = ["the gate: false alarms", "Diffy's rule: false alarms"]
    return ["what varies", "rehearsals", *alarms, "the gate: a change found", "Diffy's rule: a change found"], rows


def diffy(old: bytes, new: bytes, inputs: Sequence[Any], run: Any) -> bool:
    """Return whether Diffy reports a field: old and new differ relative to old and old by more than 20 %.

    References:
        https://github.com/opendiffy/diffy: relativeThreshold 20 %, absoluteThreshold 0.03 %.
    """
    primary, candidate, secondary = (run(code, noisy_tools.NAME, inputs, Limits()) for code in (old, new, old))
    raw, between = _differing(primary, candidate), _differing(primary, secondary)
    for field in raw.keys() | between.keys():
        many, few = raw.get(field, 0), between.get(field, 0)
        if many + few and abs(many - few) / (many + few) > 0.2 and many / len(inputs) > 0.0003 and many > few:
            return True
    return False


def _differing(one: Sequence[Any], other: Sequence[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for left, right in zip(one, other, strict=True):
        for field in set(_fields(left, right)):
            counts[field] = counts.get(field, 0) + 1
    return counts


def _fields(left: Any, right: Any) -> Iterator[str]:
    if left.kind is not right.kind:
        yield "outcome"
    elif left.result is not None:
        yield from _differing_fields(json.loads(left.result), json.loads(right.result), "")


def _differing_fields(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differing_fields(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield place
        for first, second in itertools.zip_longest(one, other):
            yield from _differing_fields(first, second, f"{place}.*")
    elif one != other:
        yield place
