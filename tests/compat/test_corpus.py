"""A corpus of changes: each is found, is breaking or compatible as it should be, and nothing else is found."""

from __future__ import annotations

import pytest

from rollguard.compat import Change, changes
from tests.compat.corpus import CORPUS, Case


def found(case: Case, *, breaking: bool) -> list[tuple[str, str | None, str | None]]:
    """What is found, as the corpus writes it."""
    return sorted(
        (
            (str(c.kind), c.function, c.parameter)
            for c in changes(case.before, case.after, "weather")
            if c.breaking is breaking
        ),
        key=repr,
    )


@pytest.mark.parametrize("case", CORPUS, ids=lambda c: c.name)
def test_what_breaks_callers_is_found(case: Case) -> None:
    """Of each pair exactly the breaking changes are found that are in it, and exactly the compatible ones."""
    assert found(case, breaking=True) == sorted(case.breaking, key=repr)
    assert found(case, breaking=False) == sorted(case.compatible, key=repr)


@pytest.mark.parametrize("case", CORPUS, ids=lambda c: c.name)
def test_no_version_differs_from_itself(case: Case) -> None:
    """Code compared with itself has no changes, also when its bytes differ by a comment."""
    for code in (case.before, case.after):
        assert changes(code, code, "weather") == ()
        assert changes(code, f"{code}\n# a comment\n", "weather") in ((), unreadable(code))


def unreadable(code: str) -> tuple[Change, ...]:
    """What is found of code that is nested too deeply."""
    return changes("pass", code, "weather") if "-----" in code else ()


@pytest.mark.parametrize("case", CORPUS, ids=lambda c: c.name)
def test_breaking_changes_come_first_and_are_told(case: Case) -> None:
    """The breaking changes come first, none twice, and each has a sentence that names the place."""
    listed = changes(case.before, case.after, "weather")
    assert [c.breaking for c in listed] == sorted((c.breaking for c in listed), reverse=True)
    assert len(set(listed)) == len(listed)
    for change in listed:
        assert (change.parameter or change.function or "weather").strip("*") in str(change)


def test_sentences_say_what_a_caller_needs() -> None:
    """The sentence names function, parameter, and what was and is."""
    before = "from typing import Literal\ndef weather(city: str, unit: Literal['C', 'F'] = 'C', days: int = 1): 0"
    after = "from typing import Literal\ndef weather(city: str, unit: Literal['C'] = 'C', *, lang: str): 0"
    assert [str(c) for c in changes(before, after, "weather")] == [
        "weather: parameter days is gone: a call that gives it fails",
        "weather: parameter lang is new and required: a call without it fails",
        "weather: parameter unit no longer takes 'F'",
    ]


def test_the_code_is_never_run() -> None:
    """Code that would end the process, or that imports what is not there, is only read."""
    before = "import nothing_of_that_name\nraise SystemExit(3)\ndef weather(a): 0"
    assert [c.kind for c in changes(before, before.replace("(a)", "()"), "weather")] == ["parameter_removed"]


def test_bytes_are_read_in_the_coding_they_declare() -> None:
    """Bytes with a coding line, and bytes with a byte-order mark, are read as Python reads them."""
    latin = "# coding: latin-1\ndef weather(é): 0".encode("latin-1")
    assert changes(latin, "def weather(é): 0".encode("utf-8-sig"), "weather") == ()
