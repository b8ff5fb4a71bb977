"""What is no baseline, from the deployments alone; what other tools show; and creeping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.judge import EarlierVersions, LeftOut, Rules, Window, creeping
from rollguard.judge.baseline import History, Life, Watched, left_out, reaches, without
from rollguard.judge.creeping import EarlierVersion
from rollguard.judge.outages import affected_minutes, outages, suspicious_hours

T = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def _at(hours: float) -> datetime:
    return T + hours * HOUR


def test_the_latest_life_decides() -> None:
    """A version that was rolled back is bad in all its lives, and good again when it is live again."""
    lives = [Life(1, _at(0), _at(1)), Life(2, _at(1), _at(2), rolled_back=True), Life(1, _at(2), _at(3))]
    out = left_out(History(lives).before(9, _at(3)), T, T)
    assert (out.versions, out.unnamed) == ((2,), ((_at(1), _at(2)),))
    again = History([*lives, Life(2, _at(3), _at(4)), Life(3, _at(4), None)])
    assert left_out(again.before(9, _at(4)), T, T) == LeftOut(T)


def test_what_is_kept_does_not_grow_with_the_history() -> None:
    """Of bad versions from before a baseline's time only the latest numbers are kept, and no times."""
    lives = [Life(n, _at(n), _at(n + 1), rolled_back=True) for n in range(1, 500)]
    out = left_out(History(lives).before(1, _at(500)), _at(490.5), T)
    assert out.versions == tuple(range(490, 500))
    assert out.older == tuple(range(489, 389, -1))
    assert len(out.unnamed) == 10


@pytest.mark.parametrize(("healthy", "bad"), [(True, ()), (False, (2,))])
def test_a_rollback_by_hand_is_for_its_health_unless_it_was_healthy(healthy: bool, bad: tuple[int, ...]) -> None:
    """A person may go back from a good version; what was not found healthy is left out."""
    lives = [Life(1, _at(0), _at(1)), Life(2, _at(1), _at(2), rolled_back=True, by_hand=True), Life(1, _at(2), None)]
    history = History(lives, [Watched(1, 2, _at(1), healthy=healthy, regressed=False)])
    assert left_out(history.before(2, _at(3)), T, T).versions == bad


def test_what_has_no_version_is_known_by_its_times() -> None:
    """A bad deployment of an unknown version lasts until the next one begins."""
    watched = [Watched(n, None, _at(n), healthy=n != 2, regressed=n == 2) for n in range(1, 4)]
    history = History((), watched).before(4, _at(6))
    assert left_out(history, T, T).unknown == ((_at(2), _at(3)),)
    assert [(life.start, life.end) for life in history.lives] == [
        (_at(n), _at(n + 1 if n < 3 else 6)) for n in (1, 2, 3)
    ]


def test_how_far_it_reaches() -> None:
    """A baseline may begin its days before the end of each good life, before itself, and before the first life."""
    lives = [Life(1, _at(0), _at(24)), Life(2, _at(24), _at(240), rolled_back=True), Life(3, _at(240), None)]
    history, week = History(lives).before(1, _at(240)), 7 * DAY
    assert reaches(history, _at(240) - week, week) == [_at(24) - week, _at(0) - week]
    alone = History(lives[:1]).before(1, _at(12))
    assert reaches(alone, _at(12) - DAY, DAY) == [_at(12) - 2 * DAY]


TIMES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda t: (_at(t[0]), _at(t[0] + t[1]))), max_size=6
)


@given(TIMES, TIMES)
def test_times_without_holes(times: list[tuple[datetime, datetime]], holes: list[tuple[datetime, datetime]]) -> None:
    """Exactly the moments that are in a time and in no hole are left, each as often as before."""
    left = without(times, holes)
    assert all(a < b for a, b in left)
    for hour in range(90):
        moment = _at(hour + 0.5)
        kept = sum(a <= moment < b for a, b in times) * (not any(a <= moment < b for a, b in holes))
        assert sum(a <= moment < b for a, b in left) == kept


def test_it_is_kept_as_json() -> None:
    """What a baseline does not count is read back equal, and nothing left out takes no room."""
    span = ((_at(1), _at(2)),)
    for out in (LeftOut(T), LeftOut(T, (2, 3), span, span, span, calls=7, start=T, older=(1,))):
        assert LeftOut.from_dict(out.to_dict()) == out
    assert LeftOut(T).to_dict() == {"as_of": T.isoformat()}


# --- outages --------------------------------------------------------------------------------------------------------


def test_an_hour_in_which_a_tool_fails_is_suspicious() -> None:
    """Hours with more failures than usual are found, each outage for itself, and chance is not."""
    hours = [(_at(n), Window(60, 57)) for n in range(48)]
    assert suspicious_hours(hours, 10) == []
    for n in (7, 30, 31):
        hours[n] = (_at(n), Window(60, 20))
    assert sorted(suspicious_hours(hours, 10)) == [(_at(6), _at(9)), (_at(29), _at(33))]


def test_the_minutes_of_an_outage() -> None:
    """Its minutes are those with failures, up to the calls that show that it had not begun or was over."""
    minutes = [(T + n * MINUTE, Window(2, 0 if 20 <= n < 50 else 2)) for n in range(90)]
    found = affected_minutes(minutes, Fraction(1, 100))
    assert found is not None
    assert T + 19 * MINUTE <= found[0] <= T + 20 * MINUTE
    assert T + 50 * MINUTE <= found[1] <= T + 51 * MINUTE
    broken = [(T + n * MINUTE, Window(2, 0 if n > 20 else 2)) for n in range(900)]
    assert affected_minutes(broken, Fraction(1, 100)) is None


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (10, 2), (11, 3), (50, 10)])
def test_a_fifth_of_the_other_tools_show_an_outage(others: int, needed: int) -> None:
    """One other tool alone may show it; of several at least two, and a fifth of them; the tool itself never does."""
    span = (_at(1), _at(2))
    for count in (needed - 1, needed):
        affected = {str(n): [span] if n < count else [] for n in range(others)} | {"mine": [span]}
        assert outages(affected, "mine", _at(0), _at(9)) == ([span] if count == needed else [])


def test_outages_are_those_of_the_baselines_time() -> None:
    """Minutes in which several tools overlap are one outage, within the days of the baseline."""
    affected = {"a": [(_at(1), _at(3)), (_at(7), _at(9))], "b": [(_at(2), _at(4)), (_at(6), _at(12))]}
    assert outages(affected, "mine", _at(2.5), _at(8)) == [(_at(2.5), _at(3)), (_at(7), _at(8))]


# --- creeping -------------------------------------------------------------------------------------------------------


def test_creeping_needs_evidence_and_the_drop() -> None:
    """The best earlier version counts; a smaller drop, few calls and what may be chance are nothing."""
    rules = Rules()
    best = [
        EarlierVersion("version 1", 1000, 20),
        EarlierVersion("version 2", 1000, 50),
        EarlierVersion("version 3", 99, 0),
    ]
    earlier = EarlierVersions.of(best, rules.alpha)
    assert earlier.count == 2
    found = creeping(earlier, Window(1000, 830), rules)
    assert found is not None
    assert (found.than.name, found.drop, found.compared) == ("version 1", Fraction(15, 100), 2)
    assert creeping(EarlierVersions.from_dict(found.to_dict()), Window(1000, 830), rules) == found
    assert creeping(earlier, Window(1000, 831), rules) is None
    assert creeping(earlier, Window(9, 0), rules) is None
    assert creeping(earlier, Window(10, 8), rules) is None


def test_a_check_costs_the_same_with_many_versions() -> None:
    """Of many versions those are kept whose failure rate is the lowest for sure; alpha is divided by all of them."""
    many = [EarlierVersion(f"version {n}", 100 + n, n % 50) for n in range(300)]
    earlier = EarlierVersions.of(many, 0.05)
    assert (earlier.count, len(earlier.best)) == (300, 20)
    assert earlier.best[0].failures == 0
    assert EarlierVersions.from_dict(earlier.to_dict()) == earlier
