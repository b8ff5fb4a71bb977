"""The confirmation of a deployment, as a state machine: evidence, the old version alone, and the bound."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.judge import Arms, Rules, Stage, Window, judge
from rollguard.model.confirming import ALONE, BOUND, EXTERNAL, SHARING, Confirming, ConfirmSigns, continued
from rollguard.model.ramp import State
from tests.conftest import NOW

RULES = Rules(decision="evidence", confirm="concurrent")
MINUTE = timedelta(minutes=1)
BEGUN = Confirming.begin(RULES, 0, NOW)


def signs(**found: object) -> ConfirmSigns:
    return ConfirmSigns(**{"units": 10, **found})  # type: ignore[arg-type]


def test_it_begins_with_half_of_the_calls() -> None:
    """Each version gets half of the calls, until the comparison decides."""
    assert (BEGUN.share, BEGUN.stage, BEGUN.ended) == (0.5, SHARING, False)
    assert BEGUN.after(signs(), NOW + MINUTE) == BEGUN
    ended = BEGUN.after(signs(evidence=True, units=1_000), NOW + MINUTE)
    assert (ended.state, ended.share, ended.ended_at) == (State.ROLLED_BACK, 0.0, NOW + MINUTE)


@pytest.mark.parametrize(("units", "minutes", "over"), [(299, 119, False), (300, 1, True), (20, 120, True)])
@pytest.mark.parametrize("paused", [False, True])
def test_its_bound(units: int, minutes: int, over: bool, paused: bool) -> None:
    """After 300 calls or 2 hours it ends without an answer, also when paused, and the new version serves alone."""
    begun = BEGUN.paused() if paused else BEGUN
    after = begun.after(signs(units=units), NOW + minutes * MINUTE)
    assert after.state is (State.UNPROVEN if over else begun.state)
    assert (after.share == 1.0) is over
    assert begun.why(signs(units=units)) == BOUND


def test_the_bound_counts_anew_in_a_second_confirmation() -> None:
    """A later confirmation of the session has the whole bound, and goes on with the counts of both versions."""
    again = Confirming.begin(RULES, 300, NOW)
    assert again.after(signs(units=599), NOW + MINUTE) == again
    assert again.after(signs(units=600), NOW + MINUTE).state is State.UNPROVEN
    counted = Arms(1000, 50, (Stage(0.5, 150, 30, 150, 30), Stage(0.0, 0, 0, 20, 20)), serving=False, confirms=True)
    assert continued(counted) == Arms(1000, 50, (Stage(0.5, 150, 30, 150, 30),), confirms=True)
    assert continued(None) is None


def test_the_old_version_alone_shows_an_external_cause() -> None:
    """If the old version fails more than before too, it serves alone; if it goes on failing, the cause is external."""
    alone = BEGUN.after(signs(old_fails=True), NOW + MINUTE)
    assert (alone.stage, alone.share, alone.state) == (ALONE, 0.0, State.RAMPING)
    found = signs(old_fails=True, alone=5, alone_fails=True)
    assert alone.after(found, NOW + MINUTE).state is State.UNPROVEN
    assert alone.why(found) == EXTERNAL
    recovered = alone.after(signs(old_fails=True, alone=20), NOW + 2 * MINUTE)
    assert (recovered.stage, recovered.share) == (SHARING, 0.5)
    assert recovered.after(signs(old_fails=True, alone=20), NOW + 3 * MINUTE) == recovered


def test_signs_are_those_of_the_judgement() -> None:
    """What a check finds of both versions is read from its judgement."""
    arms = Arms(1000, 50, (Stage(0.5, 15, 14, 15, 14), Stage(0.0, 0, 0, 4, 4)), confirms=True)
    found = ConfirmSigns.of(judge(Window(1000, 950), Window(30, 2), RULES, arms=arms))
    assert found == ConfirmSigns(34, old_fails=True, alone=4, alone_fails=True)


@given(st.lists(st.tuples(st.integers(0, 400), *[st.booleans()] * 3, st.integers(0, 30)), max_size=8))
def test_it_ends_within_its_bound(checks: list[tuple[int, bool, bool, bool, int]]) -> None:
    """Whatever the checks find, it ends by its bound, what has ended never changes, and JSON keeps it."""
    now, found = NOW, BEGUN
    for units, *truths, alone in checks:
        now += 20 * MINUTE
        before, found = found, found.after(ConfirmSigns(units, truths[0], False, truths[1], alone, truths[2]), now)
        assert Confirming.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert not before.ended or found == before
        assert found.ended or (now < NOW + 120 * MINUTE and units < 300)
