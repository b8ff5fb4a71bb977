"""Noise is what differs between runs of the same code; everything else is a difference, unless a rule allows it."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.rehearse import RehearsalRules
from rollguard.rehearse.compare import Comparison
from rollguard.rehearse.exact import p_more
from rollguard.rehearse.noise import Noise
from rollguard.rehearse.places import matches

IDS = [
    [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
    [{"name": "b", "id": 7}, {"name": "a", "id": 5}],
    [{"name": "a", "id": 4}, {"name": "b", "id": 9}],
]


def places(old: Any, new: Any, runs: list[Any] = [], **rules: Any) -> list[str]:  # noqa: B006
    noise = Noise()
    if runs:
        noise.observe(runs)
    return [one.place for one in Comparison(RehearsalRules(**rules), noise).differences(old, new)]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1.0, "b": [1, 2]}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {"a": "1"}, ["a"]),
        ({"a": 1}, {"a": None}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({}, {"a": {"b": 1}}, ["a"]),
        ([1, 2], [2, 1], ["[*]", "[*]"]),
        ([1, 2], [1], ["$"]),
        ({"rows": [{"n": 1}]}, {"rows": [{"n": 2}]}, ["rows[*].n"]),
        (float("nan"), float("nan"), []),
        ("a", "b", ["$"]),
        (10**400, 10**400, []),
        (10**400, 10**400 + 1, ["$"]),
        (10**400, 1.5, ["$"]),
    ],
)
def test_differences_are_found_where_they_are(old: Any, new: Any, where: list[str]) -> None:
    """Without noise and rules every other value, type, key or length is a difference, at its place."""
    assert [place.removeprefix("$") or "$" for place in places(old, new)] == where


@pytest.mark.parametrize(
    ("rules", "same"),
    [
        ({}, False),
        ({"tolerance": 0.01, "unordered": ["rows"]}, True),
        ({"ignore": ["rows[*].n"], "unordered": ["rows"]}, True),
        ({"ignore": ["**.n"], "unordered": ["rows"]}, True),
        ({"ignore": ["rows"]}, True),
        ({"ignore": ["n"], "unordered": ["rows"]}, False),
        ({"unordered": ["rows"]}, False),
        ({"tolerance": 0.01}, False),
    ],
)
def test_rules_allow_what_they_name(rules: dict[str, Any], same: bool) -> None:
    """A tolerance, ignored places and unordered lists are no differences; other differences stay."""
    old = {"rows": [{"k": "a", "n": 100.0, "at": 1}, {"k": "b", "n": 50.0, "at": 2}]}
    new = {"rows": [{"k": "b", "n": 50.2, "at": 2}, {"k": "a", "n": 100.5, "at": 1}]}
    assert (places(old, new, **rules) == []) is same


def test_places_are_named_by_patterns() -> None:
    """`*` is one step, `**` any steps, and `$` the result itself."""
    assert matches("items[*].id", ["items[*].id"])
    assert matches("items[*].id", ["$.items[*].id"])
    assert matches("items[*].id", ["**.id"])
    assert matches("id", ["**.id"])
    assert matches("a.b", ["*.b"])
    assert matches("$", ["$"])
    assert not matches("a.b.c", ["*.c"])
    assert not matches("idle", ["id"])


def test_what_varies_is_noise_and_what_stays_is_compared() -> None:
    """Clocks, ids, order and jitter are learned from runs; beside them a changed value is found."""
    runs = [
        {"at": f"2026-03-01 12:00:{second}", "load": load, "rows": rows, "city": "Oslo"}
        for second, load, rows in zip((10, 12, 15), (1.0, 1.01, 0.99), IDS, strict=True)
    ]
    new = {"at": "2026-03-01 12:01:09", "load": 1.02, "rows": [{"name": "b", "id": 3}, {"name": "a", "id": 8}]}
    assert places(runs[0], {**new, "city": "Oslo"}, runs) == []
    assert places(runs[0], {**new, "city": "Lima"}, runs) == ["city"]
    assert places(runs[0], {**new, "city": "Oslo", "load": 2.0}, runs) == ["load"]
    assert places(runs[0], {**new, "city": "Oslo", "at": None}, runs) == ["at"]
    wrong = [{"name": "b", "id": 3}, {"name": "c", "id": 8}]
    assert set(places(runs[0], {**new, "city": "Oslo", "rows": wrong}, runs)) == {"rows[*].name"}


@pytest.mark.parametrize(
    ("runs", "same", "other"),
    [
        (
            ["read at 10:01 by w1", "read at 10:02 by w3", "read at 10:03 by w2"],
            "read at 11:59 by w7",
            "lost at 10:01 by w1",
        ),
        ([["a", "b"], ["b", "a"], ["a", "b"]], ["b", "a"], ["a", "c"]),
        ([{"a": 1}, {"a": 1, "hint": 2}, {"a": 1}], {"a": 1, "hint": 3}, {"a": 2}),
        ([[1], [1, 2], [1, 2, 3]], [5], 5),
        ([0.3, -0.4, 0.1], 12.0, "12"),
        ([1, "one", None], [2], None),
    ],
)
def test_each_kind_of_noise(runs: list[Any], same: Any, other: Any) -> None:
    """Words within a text, order, keys, lengths, signs and types may vary; what does not vary may not change."""
    assert places(runs[0], same, runs) == []
    if other is not None:
        assert places(runs[0], other, runs) != []


def test_the_exact_test() -> None:
    """With one input it is Fisher's test, and inputs add up; equal successes prove nothing."""
    assert p_more([(3, 3, 0, 3)]) == pytest.approx(1 / 20)
    assert p_more([(3, 3, 0, 3)] * 2) == pytest.approx(1 / 400)
    assert p_more([(3, 4, 1, 4)]) == pytest.approx(17 / 70)
    assert p_more([(0, 3, 0, 3), (3, 3, 3, 3)]) == 1.0
    assert p_more([]) == 1.0
    assert p_more([(5, 9, 4, 9)] * 3) > 0.1


def test_a_number_apart_from_a_varying_word_is_compared() -> None:
    """In a text with a time, the number that is not part of the time still counts."""
    runs = ["total 5 at 9:15.25", "total 5 at 9:15.75"]
    assert places("total 5 at 9:15.25", "total 5 at 9:16.10", runs) == []
    assert places("total 5 at 9:15.25", "total 6 at 9:15.50", runs) == ["$"]
