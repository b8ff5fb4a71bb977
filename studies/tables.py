"""The tables of docs/deciding.md and docs/rehearse.md, each computed by a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from rollguard.evaluate.boundaries import Lines, lines_of, sprt_line
from rollguard.evaluate.exact import delay, false_rollback
from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulate_counts import Act, Rollbacks, interval, replay, within
from rollguard.evaluate.simulator import overrides_of, through_monitor
from rollguard.evaluate.traffic import calls_of
from rollguard.judge import Evidence, Rules
from rollguard.judge.binomial import clopper_pearson_upper
from studies import peers, rehearsals
from studies import rollouts as side_by_side

NOT_MEASURED = "–"
THRESHOLD, EVIDENCE = RULES = (  # without triggers, to compare the two alone
    Rules(fast_triggers="off"),
    Rules(decision="evidence", fast_triggers="off"),
)
DECISIONS = ("threshold", "evidence")
_UNSEEN = 1e-5  # far below what the tables show


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the studies: the defaults are those of the page, and tests use smaller ones."""

    horizon: int = 2000
    baselines: tuple[int, ...] = (20, 100, 1000, 10_000)
    tools: int = 100
    outage_tools: int = 20
    releases: int = 120  # of 20 tools
    hours: int = 24
    small_tools: int = 34
    noisy_rounds: int = 25
    rollouts: int = 100
    rollouts_outage: int = 100
    rollouts_worse: int = 100
    rollouts_stages: int = 400


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts."""

    columns: list[str]
    rows: list[list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Return the table as JSON-safe values."""
        return asdict(self)


# --- exact -----------------------------------------------------------------------------------------------------------


def risks(size: Size) -> Table:
    """How often a tool that did not change is rolled back."""
    rows = []
    for nb in size.baselines[1:3]:
        for success in (0.99, 0.95, 0.90, 0.70, 0.54):
            cells = [f"{100 * success:g} %", f"{nb:,}"]
            for looks in (None, _day(size.horizon)):
                for tried in RULES:
                    chance = false_rollback(tried, nb, 1 - success, size.horizon, looks=looks, unseen=_UNSEEN)
                    cells.append(_percent(chance))
            rows.append(cells)
    whens = (f"each of {size.horizon:,} calls", f"288 looks at {size.horizon:,} calls")
    return Table(["success rate", "calls before", *(f"{rule}: {when}" for when in whens for rule in DECISIONS)], rows)


def _day(calls: int) -> Callable[[int], bool]:
    """Return whether a number of calls is that of one of a day's checks, one every five minutes."""
    return {-(-calls * i // 288) for i in range(1, 289)}.__contains__


def delays(size: Size) -> Table:
    """How many calls it takes until a worse version is rolled back."""
    names = ("threshold", "evidence", "evidence, triggers", "evidence alone", "SPRT")
    rows = []
    for after in (1.0, 0.4, 0.25, 0.2, 0.15):
        rules = (
            lines_of(THRESHOLD, 1000, 50, size.horizon),
            lines_of(EVIDENCE, 1000, 50, size.horizon),
            lines_of(Rules(decision="evidence"), 1000, 50, size.horizon),
            Lines(Evidence(1000, 50).boundary(size.horizon)),
            Lines(sprt_line(0.05, after, 0.05, size.horizon)),
        )
        rows.append([f"95 % → {100 * (1 - after):g} %", *(_delay(lines, after) for lines in rules)])
    return Table(["success rate", *names], rows)


def _delay(lines: Lines, rate: float) -> str:
    found = delay(lines, rate)
    if found.mean is None:
        return "never"
    late = "" if found.found > 0.9995 else f" ({_percent(found.found)} found)"
    return f"{found.mean:.1f}, 90 % by {NOT_MEASURED if found.p90 is None else found.p90}{late}"


def choices(size: Size) -> Table:
    """What alpha and the number of calls before the deployment change."""
    rows = []
    for alpha in (0.01, 0.05, 0.1):
        for nb in size.baselines:
            rules = replace(EVIDENCE, alpha=alpha)
            wrong = false_rollback(rules, nb, 0.05, size.horizon, unseen=_UNSEEN)
            before = round(0.05 * nb)
            found = [_delay(lines_of(rules, nb, before, size.horizon), q) for q in (1.0, 0.25)]
            rows.append([f"{alpha:g}", f"{nb:,}", _percent(wrong), *found])
    return Table(["alpha", "calls before", "wrongly rolled back", "95 % → 0 %", "95 % → 75 %"], rows)


# --- simulated -------------------------------------------------------------------------------------------------------


def others(size: Size) -> Table:
    """The rules of others on the same streams of calls."""
    rows = []
    for title, scenario in _scenarios(size):
        found = _acts_of_all(scenario)
        for rule, acts in found.items():
            outcome = Rollbacks.of(scenario, acts)
            low, high = interval(outcome.wrong, outcome.deployments)
            wrong = f"{_percent(outcome.wrong / outcome.deployments)} ({100 * low:.0f}–{100 * high:.0f})"
            worse = scenario.worse_from is not None
            right = _percent(outcome.right / outcome.worse) if worse else NOT_MEASURED
            rows.append([title, rule, NOT_MEASURED if worse else wrong, right, _minutes(outcome)])
            title = ""  # noqa: PLW2901 - named once
    return Table(["scenario", "rule", "wrongly rolled back", "found", "half within"], rows)


def _scenarios(size: Size) -> Iterator[tuple[str, Scenario]]:
    for title, success, more in (
        ("nothing changes, 99 %", {"before": 0.99}, {}),
        ("nothing changes, 95 %", {"before": 0.95}, {}),
        ("nothing changes, 70 %", {"before": 0.7}, {}),
        ("95 % → 75 %", {"before": 0.95, "after": 0.75}, {}),
        ("95 % → 40 %", {"before": 0.95, "after": 0.4}, {}),
        ("10 minutes of outage, 97 %", {"before": 0.97}, {"outage": {"after_hours": 0.1, "minutes": 10.0}}),
    ):
        traffic = {"calls_per_hour": 200.0, "baseline_days": 5 / 24, "watched_hours": size.hours}
        values = {"seed": 20, "tools": size.tools, "traffic": traffic, "success": success, **more}
        yield title, Scenario.from_mapping(values, title)


def _acts_of_all(scenario: Scenario) -> dict[str, list[Act | None]]:
    minutes = scenario.traffic.watched_hours * 60
    own = max(0.0, scenario.success.before - 0.15)
    found: dict[str, list[Act | None]] = {}
    for tool in range(scenario.tools):
        calls = calls_of(scenario, tool)
        canary = peers.Minutes.of(calls, minutes)
        control = peers.Minutes.of(calls_of(scenario.unchanged(), tool, run=1), minutes)
        acts: dict[str, Act | None] = {
            f"Rollguard, {decision}": replay(calls, Rules(decision=decision), every=300.0, until=minutes * 60.0)
            for decision in DECISIONS
        }
        acts["Argo Rollouts, 95 %"] = peers.argo(canary)
        acts["Argo Rollouts, 15 points below"] = peers.argo(canary, least=own)
        acts["Flagger, 99 %"] = peers.flagger(canary)
        acts["Flagger, 15 points below"] = peers.flagger(canary, least=own)
        acts["Kayenta"] = peers.kayenta(canary, control)
        acts["GrowthBook"] = peers.growthbook(canary, control)
        for rule, act in acts.items():
            found.setdefault(rule, []).append(act)
    return found


def outage(size: Size) -> Table:
    """What an outage that hits every tool does, through the real monitor."""
    values = {
        "seed": 13,
        "tools": size.outage_tools,
        "traffic": {"calls_per_hour": 60.0, "watched_hours": min(size.hours, 6)},
        "success": {"before": 0.97},
        "errors": {"ConnectionError": 4.0, "TimeoutError": 1.0},
        "outage": {"after_hours": 1.0, "minutes": 30.0, "success": 0.1},
    }
    scenario = Scenario.from_mapping(values, "outage")
    return Table(
        ["rule", "holds: no", "holds: yes", "as it is by default"],
        [[decision, *(_held(scenario, decision, hold) for hold in (False, True, None))] for decision in DECISIONS],
    )


def _held(scenario: Scenario, decision: str, hold: bool | None) -> str:
    """Return the share of tools that are rolled back, with rollbacks held or not while an outage explains failures."""
    acts = through_monitor(scenario, overrides_of(Rules(decision=decision, hold_on_external=hold)))
    return f"{_percent(sum(act is not None for act in acts) / len(acts))} of {len(acts)}"


def releases(size: Size) -> Table:
    """How often a release of unchanged tools is rolled back, through the real monitor."""
    traffic = {"calls_per_hour": 20.0, "baseline_days": 1.0, "watched_hours": min(size.hours, 12)}
    values = {"seed": 29, "tools": 20 * size.releases, "traffic": traffic, "success": {"before": 0.9}}
    scenario = Scenario.from_mapping(values, "releases")
    alone = through_monitor(scenario, overrides_of(Rules()), every=3600.0)
    rows = []
    for together in (1, 5, 20):
        acts = through_monitor(scenario, overrides_of(EVIDENCE), every=3600.0, together=together)
        threshold, release = (_back(found, together) for found in (alone, acts))
        most = _percent(clopper_pearson_upper(len(release), sum(release), 0.05))
        rows.append([str(together), _share(threshold), _share(release), most])
    return Table(["tools", "one alone by the threshold rolls back all", "a release", "at most, 95 % sure"], rows)


def _back(acts: list[Act | None], together: int) -> list[bool]:
    """Return of each release whether a tool of it called for a rollback."""
    groups = [acts[first : first + together] for first in range(0, len(acts), together)]
    return [any(act is not None for act in group) for group in groups]


def _share(back: list[bool]) -> str:
    return f"{_percent(sum(back) / len(back))} of {len(back):,}"


# --- formatting ------------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if 0.0 < share < 0.9995 else f"{round(100 * share)} %"


def _minutes(outcome: Rollbacks) -> str:
    half = within(outcome.delays, 0.5)
    return NOT_MEASURED if half is None else f"{math.ceil(half / 60):,} min"


def gate(size: Size) -> Table:
    """What a rehearsal lets pass: wrong and right repairs."""
    return Table(*rehearsals.gate(size.small_tools))


def noise(size: Size) -> Table:
    """How often a rehearsal takes noise for a difference."""
    return Table(*rehearsals.noise(size.noisy_rounds))


def rollouts(size: Size) -> Table:
    """How often a good version is rolled back: replaced at once, confirmed, and in a rollout."""
    return Table(*side_by_side.rows_unchanged(size.rollouts, size.rollouts_outage))


def rollouts_worse(size: Size) -> Table:
    """After how many calls a worse version is rolled back, and how many of them it got."""
    return Table(*side_by_side.rows_worse(size.rollouts_worse))


def rollouts_stages(size: Size) -> Table:
    """How often a rollout finds a worse version, by the calls of its stages."""
    return Table(*side_by_side.rows_stages(size.rollouts_stages))


ALL: dict[str, Callable[[Size], Table]] = {
    "risks": risks,
    "delays": delays,
    "choices": choices,
    "others": others,
    "outage": outage,
    "gate": gate,
    "noise": noise,
    "releases": releases,
    "rollouts": rollouts,
    "rollouts_worse": rollouts_worse,
    "rollouts_stages": rollouts_stages,
}
