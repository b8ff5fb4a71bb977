"""The search names what failing calls have in common, and names nothing where they have nothing in common."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.investigate.causes import Call, Cause, find_causes
from rollguard.investigate.predicates import candidates, simplest_between
from rollguard.investigate.values import Values


def parameters(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {
        "city": rng.choice(["Bonn", "Kiel", "Ulm", "Köln"]),
        "days": rng.randint(1, 30),
        "limit": rng.choice([5, 7, 8, "5", "7"]),
        "note": "x" * rng.randint(0, 200),
        "lines": [{"qty": rng.randint(1, 9)} for _ in range(rng.randint(0, 4))],
        "my key": rng.random(),
    }
    if rng.random() < 0.7:
        made["units"] = "metric"
    return made


def searched(fails: Callable[[dict[str, Any], dict[str, Any]], bool], number: int = 200, seed: int = 1) -> list[Cause]:
    rng = random.Random(seed)
    calls = []
    for place in range(number):
        given_to, context = parameters(rng), {"version": 1 + 3 * place // number, "outside": rng.random() < 0.2}
        calls.append(Call(fails(given_to, context), given_to, context))
    return find_causes(calls)


@pytest.mark.parametrize(
    ("fails", "kind", "path", "predicate"),
    [
        (lambda p, _c: p["city"] == "Kiel", "value", "$.city", '$.city = "Kiel"'),
        (lambda p, _c: p["city"] != "Kiel", "value", "$.city", '$.city != "Kiel"'),
        (lambda p, _c: p["city"] == "Köln", "value", "$.city", '$.city = "Köln"'),
        (lambda p, _c: "units" not in p, "missing", "$.units", "$.units is missing"),
        (lambda p, _c: "units" in p, "value", "$.units", '$.units = "metric"'),
        (lambda p, _c: isinstance(p["limit"], str), "type", "$.limit", "$.limit is of type string"),
        (lambda p, _c: p["days"] >= 20, "range", "$.days", "$.days >= 20"),
        (lambda p, _c: 10 <= p["days"] < 20, "range", "$.days", "$.days < 20 and $.days >= 10"),
        (lambda p, _c: any(line["qty"] >= 8 for line in p["lines"]), "range", "$.lines[*].qty", "$.lines[*].qty >= 8"),
        (lambda p, _c: not p["lines"], "length", "$.lines", "length of $.lines < 1"),
        (lambda p, _c: p["my key"] < 0.25, "range", '$["my key"]', None),
        (lambda _p, c: c["version"] >= 2, "version", "version", "since version 2"),
        (lambda _p, c: c["version"] == 2, "version", "version", "version = 2"),
        (lambda _p, c: c["outside"], "outside", "outside", "other tools failed at the same time"),
        (
            lambda p, c: c["version"] == 3 and "units" not in p,
            "pair",
            "$.units and version",
            "$.units is missing and since version 3",
        ),
    ],
)
def test_a_cause_is_named(fails: Any, kind: str, path: str, predicate: str | None) -> None:
    """What makes a tool fail comes first, in the simplest words, and with the counts of its calls."""
    first = searched(fails)[0]
    assert (first.kind, first.path) == (kind, path)
    assert predicate in (None, first.predicate)
    assert first.failures == first.calls
    assert first.q_value < 1e-6
    assert first.confirmed is None


def test_two_causes_are_both_named() -> None:
    """What one cause explains is set aside, and the next one is looked for."""
    found = searched(lambda p, _c: p["city"] == "Kiel" or "units" not in p, number=400)
    assert {cause.predicate for cause in found} == {'$.city = "Kiel"', "$.units is missing"}


@pytest.mark.parametrize("number", [0, 3, 20, 200])
def test_no_single_cause(number: int) -> None:
    """Where failures come by chance, or there are too few, that is the answer."""
    rng = random.Random(number)
    (only,) = searched(lambda _p, _c: rng.random() < 0.2, number)
    assert (only.kind, only.predicate, only.confirmed) == ("none", "no single cause found", None)
    assert only.calls == number


def test_all_calls_failed() -> None:
    """Without a succeeding call there is nothing to compare with."""
    assert searched(lambda _p, _c: True)[0].kind == "none"


def test_two_failures_of_three_are_no_cause() -> None:
    """A handful of calls proves nothing."""
    calls = [Call(True, {"a": 1}), Call(True, {"a": 1}), Call(False, {"a": 2})]
    assert find_causes(calls)[0].kind == "none"


def test_a_cause_is_json() -> None:
    """A cause is described by the seven fields that the command prints."""
    described = searched(lambda p, _c: p["city"] == "Kiel")[0].to_dict()
    assert json.loads(json.dumps(described)) == described
    assert list(described) == ["kind", "path", "predicate", "failures", "calls", "q_value", "confirmed"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), JSON), min_size=2, max_size=8))
def test_a_candidate_holds_for_the_calls_it_names(given_to: list[dict[str, Any]]) -> None:
    """Whatever the JSON, each predicate holds for the calls of its bits and for no others."""
    calls = [Values(one, {"version": place % 3}) for place, one in enumerate(given_to)]
    for candidate in candidates(calls):
        held = [candidate.predicate.holds(call) for call in calls]
        assert held == [bool(candidate.calls >> place & 1) for place in range(len(calls))], candidate.predicate.text


@given(st.lists(st.tuples(st.booleans(), st.none() | JSON), max_size=30))
def test_the_order_of_calls_does_not_matter(drawn: list[tuple[bool, Any]]) -> None:
    """The same calls in another order have the same causes."""
    calls = [Call(failed, given_to) for failed, given_to in drawn]
    assert [c.to_dict() for c in find_causes(calls)] == [c.to_dict() for c in find_causes(calls[::-1])]


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.booleans())
def test_the_number_between_is_between(low: int, more: int, whole: bool) -> None:
    """A bound lies above the lower number and not above the higher one, and is whole between whole numbers."""
    one, other = (low, low + more) if whole else (low / 7, (low + more) / 7)
    found = simplest_between(one, other)
    assert one < found <= other
    assert not whole or isinstance(found, int)


def test_the_number_between_is_simple() -> None:
    """A bound is a number that a person would have chosen."""
    assert simplest_between(97.31, 104.2) == 100
    assert simplest_between(0.231, 0.262) == 0.25 or simplest_between(0.231, 0.262) == 0.26
    assert simplest_between(41, 42) == 42
