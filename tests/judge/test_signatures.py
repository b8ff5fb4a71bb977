"""Failures with the same cause have the same signature."""

from __future__ import annotations

import pytest

from rollguard.judge.error_signatures import Failed, investigate, signature


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'total' missing in row 17", "'tax' missing in row 4"),
        ("could not convert string to float: '1,234.50'", "could not convert string to float: '9.999,00'"),
        ("timeout after 30.5 s", "timeout after 2 s"),
        ("adds up to 1832.31, not 1742.31.", "adds up to 7, not -1e-5."),
        ("<Session at 0x7f10>", "<Session at 0xdeadbeef>"),
        ("job 8c5f7c1e-1b2d-4f6a-9a53-1d2f3c4b5a69 failed", "job 00000000-0000-0000-0000-000000000001 failed"),
        ("first line\nsecond", "first line\nanother"),
    ],
)
def test_variable_parts_do_not_matter(one: str, other: str) -> None:
    """Quoted text, numbers, addresses and further lines do not make another signature."""
    assert signature("ValueError", one) == signature("ValueError", other)


def test_type_and_text_matter() -> None:
    """Another type or another text is another signature."""
    assert signature("KeyError", "x") != signature("ValueError", "x")
    assert signature("ValueError", "no city") != signature("ValueError", "no country")
    assert signature(None, None) == "failure"
    assert signature("KeyError", "") == "KeyError"


def test_investigation_lists_the_most_frequent_first() -> None:
    """The most frequent signature since the deployment comes first, with its count before and the latest samples."""
    old = [Failed("TimeoutError", f"after {i} s", {"n": i}) for i in range(4)]
    new = [Failed("KeyError", f"'{i}'", {"n": i}) for i in range(7)]
    found = investigate(before=old, since=[*new, old[0]], samples=2)
    assert [(e["error_type"], e["count"], e["count_before"], e["new"]) for e in found] == [
        ("KeyError", 7, 0, True),
        ("TimeoutError", 1, 4, False),
    ]
    assert found[0]["samples"] == [{"n": 0}, {"n": 1}]
