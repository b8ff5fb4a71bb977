"""The smallest failing input is found by leaving out, and a suspected part is carried from one input to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rollguard.investigate.predicates import Predicate
from rollguard.investigate.smallest import smallest_failing, transplanted


class Tool:
    """Fails as told, and counts its runs."""

    def __init__(self, fails: Any) -> None:
        self.fails, self.runs = fails, 0

    def __call__(self, inputs: Sequence[dict[str, Any]]) -> list[bool]:
        self.runs += len(inputs)
        return [bool(self.fails(one)) for one in inputs]


BIG = {"order": {"lines": [{"qty": n, "sku": f"s{n}"} for n in range(12)], "note": "a long note; " * 20}, "n": 12.5}


def test_only_what_makes_it_fail_is_left() -> None:
    """Of a large input the one item is left that fails."""
    tool = Tool(lambda p: any(line.get("qty") == 7 for line in p.get("order", {}).get("lines", ())))
    assert smallest_failing(BIG, tool) == {"order": {"lines": [{"qty": 7}]}}
    assert tool.runs <= 200


def test_a_text_is_shortened() -> None:
    """Of a long text a part is left that fails."""
    tool = Tool(lambda p: ";" in p.get("order", {}).get("note", ""))
    found = smallest_failing(BIG, tool)
    assert set(found) == {"order"}
    assert len(found["order"]["note"]) <= len(BIG["order"]["note"]) // 8  # type: ignore[index]


def test_nothing_smaller_fails() -> None:
    """An input of which everything is needed stays as it is."""
    given_to = {"a": 1, "b": 1}
    assert smallest_failing(given_to, Tool(lambda p: p == given_to)) == given_to


@given(st.integers(0, 40))
def test_the_runs_are_bounded(most: int) -> None:
    """No more inputs are run than allowed, and what is found fails."""
    tool = Tool(lambda p: "order" in p)
    found = smallest_failing(BIG, tool, most)
    assert tool.runs <= most
    assert "order" in found


def test_a_part_is_carried_over() -> None:
    """The value of a path is taken from the other input, or taken away if that has none; an array is taken whole."""
    value = Predicate("value", ("$", "a", "b"), "=", 1)
    assert transplanted({"a": {"b": 1, "c": 2}}, {"a": {"b": 5}}, [value]) == {"a": {"b": 5, "c": 2}}
    assert transplanted({"a": {"b": 1}}, {"a": {}}, [value]) == {"a": {}}
    items = Predicate("range", ("$", "lines", "[*]", "qty"), ">=", 3)
    assert transplanted({"lines": [{"qty": 3}], "x": 1}, {"lines": []}, [items]) == {"lines": [], "x": 1}


def test_what_cannot_be_carried_over() -> None:
    """A version is no part of an input, and a change that changes nothing tells nothing."""
    assert transplanted({"a": 1}, {"a": 2}, [Predicate("version", ("version",), ">=", 2)]) is None
    assert transplanted({"a": 1}, {"a": 1}, [Predicate("value", ("$", "a"))]) is None
    assert transplanted({"a": 1}, {"a": {"b": 1}}, [Predicate("value", ("$", "a", "b"))]) is None
