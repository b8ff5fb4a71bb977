"""The gate: rehearse a candidate against recorded calls, in order, and say whether it may go live."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rollguard.rehearse import gaming
from rollguard.rehearse.calls import Chosen, has_no_form
from rollguard.rehearse.declared import Characteristics, Strategy, declared, strategy_of
from rollguard.rehearse.pair_checks import held_out_reasons, pair_reasons, unfixed_reasons
from rollguard.rehearse.pairs import Classifier, IsFailure, Pair, PairKind, result_of
from rollguard.rehearse.places import leaves
from rollguard.rehearse.reason import Reason, Weight, ask, refuse
from rollguard.rehearse.rehearsal import Rehearsal
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Run, Versions, did_not_run, paired
from rollguard.rehearse.shown import Shown
from rollguard.rehearse.source_checks import source_reasons
from rollguard.rehearse.test_cases import CaseResult, cases_of, run_cases
from rollguard.rehearse.witness import explaining, readings, unexplained
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind

PASSING_CASES = 0.9
_MOST_WITNESSED = 12  # fixed calls whose results are asked of the live version


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate, and what it is judged by.

    Attributes:
        tool_name: the tool.
        old, new: the live source and the candidate.
        chosen: the recorded calls.
        rules: the tool's settings.
        is_failure: the tool's own rule for results that are failures.
        must_fix: whether it claims to fix recorded failures; False for a change that only must break nothing.
        environment: the values of the variables that the settings grant.
        shown: writes the rehearsal for people, without secrets.
    """

    tool_name: str
    old: bytes
    new: bytes
    chosen: Chosen
    rules: RehearsalRules = field(default_factory=RehearsalRules)
    is_failure: IsFailure | None = None
    must_fix: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    shown: Shown = field(default_factory=Shown)

    @property
    def tool(self) -> Characteristics:
        """Return what the tool is: as its live version and the settings say; the candidate counts only to refuse."""
        return declared(self.old, self.tool_name).with_rules(self.rules).limited_by(declared(self.new, self.tool_name))


def rehearse(candidate: Candidate, run: Run) -> Rehearsal:
    """Rehearse a candidate.

    The steps are those of a gate: a source that is refused is not run, and calls that were held out speak last.

    Args:
        candidate: the candidate.
        run: runs a source in the sandbox.
    """
    begun = Rehearsal(
        candidate.tool_name,
        hashlib.sha256(candidate.old).hexdigest(),
        hashlib.sha256(candidate.new).hexdigest(),
        unfit=candidate.chosen.unfit,
        repeated=candidate.chosen.repeated,
        shown=candidate.shown,
    )
    reasons = source_reasons(candidate.old, candidate.new, candidate.tool_name, candidate.rules)
    if not _refused(reasons):
        reasons += _gaming_in_source(candidate)
    if _refused(reasons):
        return replace(begun, reasons=tuple(reasons))
    tool = candidate.tool
    strategy, why = strategy_of(tool, candidate.rules.grants)
    begun = replace(begun, strategy=strategy, why=why)
    if strategy is Strategy.MANUAL:
        return replace(begun, reasons=(*reasons, ask("manual", f"a person decides: {why}; it was not run")))
    limits = limits_of(tool, candidate.rules, candidate.environment)
    versions = Versions(candidate.tool_name, candidate.old, candidate.new, run, limits)
    done = _with_cases(begun, candidate, tool, versions)
    reasons += done.reasons
    if strategy is not Strategy.SYNTHETIC and not _refused(reasons):
        done, more = _with_calls(done, candidate, versions)
        reasons += more
    return replace(done, reasons=tuple(reasons))


def limits_of(tool: Characteristics, rules: RehearsalRules, environment: Mapping[str, str]) -> Limits:
    """Return what a tool may use while it runs: what it declares, as far as that is granted."""
    given = {name: environment[name] for name in tool.variables if name in environment}
    return Limits(seconds=rules.seconds, environment=given, hosts=tool.hosts)


def _refused(reasons: Sequence[Reason]) -> bool:
    return any(reason.weight is Weight.REFUSE for reason in reasons)


def _gaming_in_source(candidate: Candidate) -> Iterator[Reason]:
    old, new, name = candidate.old, candidate.new, candidate.tool_name
    yield from gaming.hidden_errors(old, new, name)
    yield from gaming.suppressed_errors(old, new)
    yield from gaming.constant_results(old, new, name)
    yield from gaming.other_judges(old, new)
    yield from gaming.learned_inputs(old, new, [call for call in candidate.chosen.calls if not call.held_out])


# --- test cases ------------------------------------------------------------------------------------------------------


def _with_cases(begun: Rehearsal, candidate: Candidate, tool: Characteristics, versions: Versions) -> Rehearsal:
    """Run the test cases that the live version declares: a candidate's own prove nothing."""
    cases = cases_of(candidate.old, tool, versions)
    results = run_cases(candidate.new, cases, versions, candidate.rules, candidate.is_failure)
    if begun.strategy is Strategy.SYNTHETIC:
        return replace(begun, cases=tuple(results), reasons=(_synthetic(results),))
    reasons = []
    wrong = [result.case for result in results if not result.passed]
    if wrong:
        before = run_cases(candidate.old, wrong, versions, candidate.rules, candidate.is_failure)
        broken = sum(result.passed for result in before)
        if broken:
            reasons.append(refuse("test_cases", f"{broken} declared test cases fail that pass with the live version"))
    return replace(begun, cases=tuple(results), reasons=tuple(reasons))


def _synthetic(results: Sequence[CaseResult]) -> Reason:
    passed = sum(result.passed for result in results)
    said = f"{passed} of {len(results)} declared test cases pass"
    if not results or passed < PASSING_CASES * len(results):
        return refuse("test_cases", said)
    return ask("synthetic", f"a person decides: {said}, and no recorded call was run")


# --- recorded calls --------------------------------------------------------------------------------------------------


def _with_calls(begun: Rehearsal, candidate: Candidate, versions: Versions) -> tuple[Rehearsal, list[Reason]]:
    rules, calls = candidate.rules, candidate.chosen.calls
    if not calls:
        return begun, [ask("too_few", "a person decides: no recorded call can be run again")]
    pairs, classifier = paired(versions, calls, rules, candidate.is_failure)
    if problem := _did_not_load(pairs):
        return begun, [problem]
    ran = [pair for pair in pairs if not did_not_run(pair.runs.old) and not did_not_run(pair.runs.new)]
    unfit = dict(begun.unfit)
    if len(ran) < len(pairs):
        unfit["the time of the rehearsal was over"] = len(pairs) - len(ran)
    shown = [pair for pair in ran if not pair.call.held_out]
    p_fixed, reasons = unfixed_reasons(ran, must_fix=candidate.must_fix)
    reasons += pair_reasons(shown)
    if not _refused(reasons):
        reasons += held_out_reasons(ran)
    if not _refused(reasons):
        reasons += _results_reasons(ran)
        if rules.unwitnessed == "ask" and not _refused(reasons):
            reasons += _unwitnessed(ran, versions, classifier, begun.cases)
    if len(ran) < len(pairs):
        reasons.append(ask("time", f"a person decides: {len(pairs) - len(ran)} recorded calls were not run in time"))
    if len(ran) < rules.min_replays:
        reasons.append(
            ask("too_few", f"only {len(ran)} recorded calls can be run again; {rules.min_replays} are needed")
        )
    noise = tuple(classifier.comparison.noise.places())
    return replace(begun, pairs=tuple(pairs), unfit=unfit, noise=noise, p_fixed=p_fixed), reasons


def _did_not_load(pairs: Sequence[Pair]) -> Reason | None:
    for who, outcomes in (("candidate", [p.runs.new for p in pairs]), ("live version", [p.runs.old for p in pairs])):
        if all(each[0].kind is OutcomeKind.NOT_RUN for each in outcomes):
            problem = outcomes[0][0].error or "it gave no answer"
            say = refuse if who == "candidate" else ask
            return say("loads", f"the {who} did not run in the sandbox: {problem}")
    return None


def _results_reasons(pairs: Sequence[Pair]) -> Iterator[Reason]:
    if formless := sum(any(_is_formless(outcome) for outcome in (*pair.runs.old, *pair.runs.new)) for pair in pairs):
        yield ask(
            "no_form", f"a person decides: results of {formless} calls have no form in JSON, and are not compared"
        )
    yield from gaming.other_classes(pairs)
    yield from gaming.errors_as_results(pairs)
    yield from gaming.widened_results(pairs)


def _is_formless(outcome: Outcome) -> bool:
    return any(isinstance(text, str) and has_no_form(text) for _place, text in leaves(result_of(outcome)))


def _unwitnessed(
    pairs: Sequence[Pair], versions: Versions, classifier: Classifier, cases: Sequence[CaseResult]
) -> Iterator[Reason]:
    """Yield a reason if nothing but the candidate says what fixed calls should return; see `witness`."""
    known = [case.case["input"] for case in cases if case.passed and case.case.get("expected_output") is not None]
    fixed = [pair for pair in pairs if pair.kind is PairKind.FIXED and pair.call.parameters not in known]
    explained = _explained(fixed[:_MOST_WITNESSED], versions, classifier)
    if not unexplained(explained) and fixed[_MOST_WITNESSED:]:
        few = set(explaining(explained))
        rest = _explained(fixed[_MOST_WITNESSED:], versions, classifier, few)
        explained |= {call: kinds & few for call, kinds in rest.items()}
    left: list[Any] = unexplained(explained)
    if left:
        yield from gaming.same_result(pairs)
        yield ask(
            "unwitnessed",
            f"a person decides: nothing but the candidate says what {len(left)} of {len(explained)} fixed calls return",
        )


def _explained(
    pairs: Sequence[Pair], versions: Versions, classifier: Classifier, only: Collection[int] = ()
) -> dict[str, set[int]]:
    """Return, for each fixed call, the kinds of readings with which the live version returns what the candidate does.

    Args:
        only: the kinds of readings that are tried; by default all.
    """
    asked = [
        (pair, reading)
        for pair in pairs
        for reading in readings(pair.call.parameters)
        if not only or reading.kinds & set(only)
    ]
    answers = versions.outcomes(versions.old, [reading.parameters for _, reading in asked])
    explained: dict[str, set[int]] = {pair.call.call_id: set() for pair in pairs}
    for (pair, reading), answer in zip(asked, answers, strict=True):
        if classifier.succeeded(answer):
            expected, returned = result_of(answer), result_of(pair.runs.new[0])
            if not any(classifier.comparison.differences(expected, returned)):
                explained[pair.call.call_id] |= reading.kinds
    return explained
