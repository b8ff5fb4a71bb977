"""The draw of an arm: by chance, with the share, independent over processes, and sticky for a request."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.errors import InvalidInput
from rollguard.model.split import Arm, Drawn, Draws, Router, Split, draw
from tests.conftest import examples

SPLIT = Split(7, 1, 2, 0, 0.25, b"key")


def _draws(split: Split, process: str, calls: int) -> list[bool]:
    router: Router = Draws(process)
    router.use_split("my_tool", split)
    drawn = [router.drawn("my_tool", None) for _ in range(calls)]
    return [one is not None and one.arm is Arm.NEW for one in drawn]


def _chi_square(found: list[int], expected: list[float]) -> float:
    return sum((one - should) ** 2 / should for one, should in zip(found, expected, strict=True))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_processes_draw_independently_with_the_share(share: float) -> None:
    """Over 40 processes the counts are binomial, in each one and together, and one draw says nothing of the next."""
    calls, split = 400, replace(SPLIT, share=share)
    each = [_draws(split, f"process {number}", calls) for number in range(40)]
    counts = [sum(drawn) for drawn in each]
    spread = math.sqrt(calls * share * (1 - share))
    assert abs(sum(counts) - 40 * calls * share) < 4 * spread * math.sqrt(40)
    # Chi-square of 40 degrees of freedom: below 18 and above 73 with a chance of 0.1 % each.
    assert 18 < sum((count - calls * share) ** 2 / spread**2 for count in counts) < 73
    pairs = Counter(pair for drawn in each for pair in zip(drawn[::2], drawn[1::2], strict=True))
    chances = {(a, b): (share if a else 1 - share) * (share if b else 1 - share) for a in (0, 1) for b in (0, 1)}
    of_pairs = [pairs[bool(a), bool(b)] for a, b in chances]
    assert _chi_square(of_pairs, [40 * calls / 2 * chance for chance in chances.values()]) < 16.3  # 0.1 %


def test_names_that_follow_each_other_are_drawn_by_chance() -> None:
    """Request ids that count up, or differ in one letter, have the share too: the hash has a key."""
    for name in ("{}", "request-{:08d}", "{0}{0}{0}"):
        new = sum(draw(SPLIT, name.format(number)).arm is Arm.NEW for number in range(4_000))
        assert abs(new - 1_000) < 4 * math.sqrt(4_000 * 0.25 * 0.75)


def test_two_rollouts_draw_independently() -> None:
    """With another key the same requests are drawn anew."""
    other = replace(SPLIT, key=b"other")
    both = sum(draw(SPLIT, f"{n}").arm == draw(other, f"{n}").arm for n in range(4_000))
    assert abs(both - 4_000 * 0.625) < 4 * math.sqrt(4_000 * 0.625 * 0.375)


def test_a_number_that_is_given_again_decides_nothing() -> None:
    """After a restored backup a rollout may have the number of an earlier one; its requests are drawn anew."""
    router = Draws()
    router.use_split("my_tool", replace(SPLIT, share=1.0))
    assert {router.drawn("my_tool", f"{n}").arm for n in range(20)} == {Arm.NEW}  # type: ignore[union-attr]
    router.use_split("my_tool", replace(SPLIT, share=0.0, key=b"other"))
    assert {router.drawn("my_tool", f"{n}").arm for n in range(20)} == {Arm.OLD}  # type: ignore[union-attr]


@given(st.text(min_size=1, max_size=30), st.floats(0, 1), st.floats(0, 1))
@examples(30)
def test_a_request_gets_the_same_version_everywhere(request: str, one: float, other: float) -> None:
    """Each process draws the same arm, a process keeps it over stages, and a higher share takes nobody the new one."""
    low, high = sorted((one, other))
    early, late = replace(SPLIT, share=low), replace(SPLIT, share=high, stage=1)
    routers = Draws(), Draws()
    for router in routers:
        router.use_split("my_tool", early)
    first = {router.drawn("my_tool", request) for router in routers}
    assert first == {draw(early, request)}
    for router in routers:
        router.use_split("my_tool", late)
    assert {router.drawn("my_tool", request) for router in routers} == first
    if draw(early, request).arm is Arm.NEW:
        assert draw(late, request).arm is Arm.NEW


def test_what_is_drawn() -> None:
    """A share of 0 or 1 leaves no choice; an arm says its version, stage and share."""
    assert draw(replace(SPLIT, share=0.0), "a") == Drawn(7, Arm.OLD, 1, 0, 0.0)
    assert draw(replace(SPLIT, share=1.0, stage=3), "a") == Drawn(7, Arm.NEW, 2, 3, 1.0)


def test_without_a_split_nothing_is_drawn() -> None:
    """One version serves alone before a split is known and after it ended; tools have splits of their own."""
    router = Draws()
    assert router.drawn("my_tool", None) is None
    router.use_split("my_tool", SPLIT)
    assert router.drawn("other", None) is None
    assert router.drawn("my_tool", "a") is not None
    router.use_split("my_tool", None)
    assert router.drawn("my_tool", "a") is None


def test_a_forked_process_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that begins with its parent's state draws otherwise."""
    parent, child = Draws("one"), Draws("one")
    for router in (parent, child):
        router.use_split("my_tool", SPLIT)
    drawn = [parent.drawn("my_tool", None) for _ in range(200)]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    child._begin_anew()  # as in a forked child
    assert [child.drawn("my_tool", None) for _ in range(200)] != drawn


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"share": 1.1}, {"key": b""}, {"key": b"x" * 65}])
def test_an_invalid_split_is_refused(wrong: dict[str, object]) -> None:
    """A share lies between 0 and 1, and a key has 1 to 64 bytes."""
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        replace(SPLIT, **wrong)  # type: ignore[arg-type]
