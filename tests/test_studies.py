"""The studies: the rules of others are what their documentation says, and the page shows what was worked out."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.evaluate.simulate_counts import Act
from rollguard.evaluate.traffic import Call
from studies import page, peers
from studies.__main__ import main
from studies.peers import Minutes
from studies.tables import ALL, Size
from tests.conftest import examples

TINY = Size(
    horizon=40,
    baselines=(10, 20),
    tools=2,
    outage_tools=3,
    releases=1,
    hours=2,
    small_tools=1,
    noisy_rounds=1,
    rollouts=1,
    rollouts_outage=1,
    rollouts_worse=1,
    rollouts_stages=1,
)


def group(*minutes: tuple[int, int]) -> Minutes:
    """(calls, failures) of each minute."""
    return Minutes(tuple(calls for calls, _ in minutes), tuple(failures for _, failures in minutes))


def steady(rate: float, minutes: int, *, calls: int = 20, seed: int = 1) -> Minutes:
    chance = Random(seed)
    return group(*((calls, sum(chance.random() < rate for _ in range(calls))) for _ in range(minutes)))


@pytest.mark.long
@pytest.mark.parametrize("name", ALL)
def test_a_table_can_be_worked_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each table is worked out by its name, and only shown where that is asked for."""
    before = page.page_of(name).read_text("utf-8")
    assert main([name, "--show"], TINY) == 0
    assert capsys.readouterr().out.count("|") >= 15
    assert page.page_of(name).read_text("utf-8") == before


def test_an_unknown_table_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is refused with those that are."""
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "risks" in capsys.readouterr().err


def test_the_pages_are_those_of_the_kept_results() -> None:
    """The pages say what `studies/results.json` holds, of every table."""
    kept = page.kept()
    assert {*ALL} == {*kept}
    for path in {page.page_of(name) for name in ALL}:
        text = path.read_text("utf-8")
        assert page.filled(text, {name: table for name, table in kept.items() if page.page_of(name) == path}) == text


def test_a_result_goes_into_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is kept replaces what stood between its markers, and nothing else; without markers it is refused."""
    monkeypatch.setattr(page, "KEPT", tmp_path / "results.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    places = "".join(f"<!-- study: {name} -->\nold\n<!-- end -->\n" for name in ("risks", "delays"))
    page.PAGE.write_text(f"before\n{places}after\n")
    table = ALL["delays"](TINY)
    page.keep({"delays": table})
    text = page.PAGE.read_text()
    assert text.startswith("before\n<!-- study: risks -->\nold\n")
    assert text.count("\nold\n") == 1
    assert "SPRT" in text
    assert page.kept() == {"delays": table}
    with pytest.raises(ValueError, match="0 places for delays"):
        page.filled("", page.kept())


def test_minutes_are_counted() -> None:
    """Calls are counted into the minutes since the deployment; others are left out."""
    stream = [
        Call(at, ok, 1.0, None, None)
        for at, ok in ((-1.0, False), (0.0, True), (59.9, False), (60.0, False), (180.0, False))
    ]
    assert Minutes.of(stream, 3) == group((2, 1), (1, 1), (0, 0))


def test_argo_fails_on_more_than_its_limit() -> None:
    """Argo Rollouts: the fourth failed measurement of five minutes ends the run, in a row or not; no calls are none."""
    bad, good, none = [(10, 1)] * 5, [(10, 0)] * 5, [(0, 0)] * 5
    assert peers.argo(group(*bad, *bad, *bad, *good, *none)) is None
    assert peers.argo(group(*bad, *good, *bad, *none, *bad, *good, *bad)) == Act(35 * 60.0, 300)
    assert peers.argo(group(*bad * 4), least=0.9) is None


def test_flagger_counts_failed_checks() -> None:
    """Flagger: ten failed checks roll back, in a row or not, no calls are a failed check, and 25 good ones promote."""
    assert peers.flagger(group(*[(10, 1)] * 10)) == Act(600.0, 100)
    assert peers.flagger(group(*[(0, 0)] * 10)) == Act(600.0, 0)
    assert peers.flagger(group(*[(10, 1), (10, 0)] * 10)) == Act(19 * 60.0, 190)
    assert peers.flagger(group(*[(10, 0)] * 25, *[(10, 10)] * 100)) is None
    assert peers.flagger(group(*[(100, 1)] * 100)) is None


def test_growthbook_looks_every_hour() -> None:
    """GrowthBook: a plain difference is found at the first look, none without one or without failures before."""
    control = steady(0.05, 300, seed=2)
    assert peers.growthbook(steady(0.4, 300), control) == Act(3600.0, 1200)
    assert peers.growthbook(steady(0.05, 300), control) is None
    assert peers.growthbook(steady(0.01, 300), control) is None
    assert peers.growthbook(steady(0.4, 300), steady(0.0, 300)) is None


def test_growthbook_halfwidth() -> None:
    """GrowthBook's bound is that of its formula, written out for one look: it acts above it and not just below."""
    n = 1000
    rho = math.sqrt((-2 * math.log(0.1) + math.log(-2 * math.log(0.1) + 1)) / 5000)

    def half(f: int) -> float:
        s2 = 2 * n * (0.1 * 0.9 / n + f / n * (1 - f / n) / n)
        spread = 2 * n * rho**2 + 1
        return math.sqrt(s2) * math.sqrt(2 * spread / (2 * n * rho) ** 2 * math.log(1 + math.sqrt(spread) / 0.1))

    control = group((n, 100), *[(0, 0)] * 59)
    least = next(f for f in range(100, n) if (f - 100) / n > half(f))
    assert peers.growthbook(group((n, least), *[(0, 0)] * 59), control) == Act(3600.0, n)
    assert peers.growthbook(group((n, least - 1), *[(0, 0)] * 59), control) is None


# control: calls and failures; canary: the same; tuning; lower bound, as gbstats 0.8.0 itself computes it
GBSTATS = [
    ((157, 17), (84, 16), 500.0, -0.05757950725665964),
    ((480, 98), (503, 404), 5000.0, 0.5191768165980165),
    ((22, 3), (476, 370), 5000.0, 0.36650433490374756),
    ((124, 2), (345, 12), 5000.0, -0.03672674048732577),
    ((574, 98), (29, 22), 5000.0, 0.3078944413185319),
    ((452, 136), (49, 15), 500.0, -0.18625896647887927),
]


@pytest.mark.parametrize(("control", "canary", "tuning", "bound"), GBSTATS)
def test_gbstats(control: tuple[int, int], canary: tuple[int, int], tuning: float, bound: float) -> None:
    """GrowthBook's package: the bound is the one that the package itself computes."""
    assert peers.gbstats_bound(control, canary, tuning=tuning) == pytest.approx(bound, abs=1e-12)


def test_kayenta_finds_what_is_plainly_higher() -> None:
    """Kayenta: failure rates that are plainly higher fail in the first hour; equal or lower ones and no data pass."""
    control = steady(0.05, 180, seed=2)
    assert peers.kayenta(steady(0.4, 180), control) == Act(3600.0, 1200)
    assert peers.kayenta(steady(0.05, 180), control) is None
    assert peers.kayenta(steady(0.01, 180), control) is None
    assert peers.kayenta(control, control) is None
    assert peers.kayenta(group(*[(0, 0)] * 60), control) is None
    assert peers.kayenta(steady(0.0, 60), steady(0.0, 60)) is None


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 1.0]), min_size=1, max_size=12),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.5, 1.0]), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.1, -0.15, 0.33]),
)
@examples(100)
def test_mann_whitney_by_pairs(x: list[float], y: list[float], shift: float) -> None:
    """The standardised U is that of all pairs, a tie being a half, with the correction for ties and continuity."""
    shifted = [round(value - shift, 12) for value in x]
    u = sum((a > b) + (a == b) / 2 for a, b in itertools.product(shifted, y))
    every = [*shifted, *y]
    ties = sum(every.count(value) ** 3 - every.count(value) for value in set(every))
    n, m = len(x), len(y)
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    z = u - n * m / 2
    expected = 0.0 if variance <= 1e-12 else (z - math.copysign(0.5, z) * (z != 0)) / math.sqrt(variance)
    assert peers._standardised(shift, x, y) == pytest.approx(expected, abs=1e-9)
