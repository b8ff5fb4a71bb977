"""Run the test cases that a tool class declares: `get_test_cases()` → [{input, expected_output, should_raise, …}]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollguard.rehearse.compare import Comparison
from rollguard.rehearse.declared import Characteristics
from rollguard.rehearse.noise import Noise
from rollguard.rehearse.pairs import Classifier, IsFailure, result_of
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Versions
from rollguard.sandbox.outcome import Outcome, OutcomeKind

_ASKED = "rollguard_test_cases"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one test case.

    Attributes:
        case: the case as it is declared.
        passed: whether the outcome is the expected one.
        problem: what is wrong, in words; empty if it passed.
    """

    case: Mapping[str, Any]
    passed: bool
    problem: str = ""


def cases_of(source: bytes, tool: Characteristics, versions: Versions) -> list[dict[str, Any]]:
    """Return the test cases of a source: literal ones from its tree, others by asking its class in the sandbox."""
    if tool.test_cases_of is None:
        return list(tool.test_cases)
    asking = (
        f"\n\nif '__rollguard_tool__' in vars({tool.test_cases_of}):\n"
        f"    del {tool.test_cases_of}.__rollguard_tool__\n\n\n"
        f"def {_ASKED}():\n    return {tool.test_cases_of}().get_test_cases()\n"
    )
    (outcome,) = versions.run(source + asking.encode(), _ASKED, [{}], versions.limits)
    found = result_of(outcome) if outcome.kind is OutcomeKind.RETURNED else None
    if not isinstance(found, list):
        return []
    return [case for case in found if isinstance(case, dict) and isinstance(case.get("input"), dict)]


def run_cases(
    source: bytes,
    cases: Sequence[Mapping[str, Any]],
    versions: Versions,
    rules: RehearsalRules,
    fails: IsFailure | None,
) -> list[CaseResult]:
    """Run a source with each test case."""
    classifier = Classifier(Comparison(rules, Noise()), fails)
    outcomes = versions.outcomes(source, [case["input"] for case in cases])
    found = []
    for case, outcome in zip(cases, outcomes, strict=True):
        problem = _problem(case, outcome, classifier)
        found.append(CaseResult(case, not problem, problem))
    return found


def _problem(case: Mapping[str, Any], outcome: Outcome, classifier: Classifier) -> str:
    expected = case.get("should_raise")
    if expected:
        if outcome.kind is not OutcomeKind.RAISED:
            return f"it should raise, and {_what(outcome)}"
        if isinstance(expected, str) and outcome.error_type != expected:
            return f"it should raise {expected}, and raised {outcome.error_type}"
        return ""
    if not classifier.succeeded(outcome):
        return _what(outcome)
    if "expected_output" not in case or case["expected_output"] is None:
        return ""
    differences = classifier.comparison.differences(case["expected_output"], result_of(outcome))
    return "; ".join(map(str, differences))


def _what(outcome: Outcome) -> str:
    if outcome.kind is OutcomeKind.RETURNED:
        return f"it returned {(outcome.result or '')[:200]}"
    return f"it {outcome.kind.replace('_', ' ')}: {outcome.error_type or ''} {outcome.error or ''}".strip()
