"""`rollguard simulate`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.options import Config, Json
from rollguard.cli.progress import progress
from rollguard.model.formatting import NOTHING, duration, percent

if TYPE_CHECKING:
    from rollguard.evaluate.scenario import Scenario
    from rollguard.evaluate.simulate_counts import Act, Rollbacks
    from rollguard.judge import Rules

_MINUTE = 60.0


class Which(StrEnum):
    """The rules to try."""

    threshold = "threshold"
    evidence = "evidence"
    both = "both"


def simulate(
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help="A file of TOML, or the name of a ready-made scenario; without it these are listed.",
            show_default=False,
        ),
    ] = None,
    decision: Annotated[Which, typer.Option("--decision", help="Which rule decides.")] = Which.both,
    runs: Annotated[int, typer.Option("--runs", min=1, metavar="N", help="How many times to run the scenario.")] = 1,
    every: Annotated[
        float, typer.Option("--every", min=0.1, max=1440, metavar="MIN", help="Minutes between checks.")
    ] = 5,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="A random seed in place of the scenario's own.", show_default=False),
    ] = None,
    through_monitor: Annotated[
        bool,
        typer.Option("--through-monitor", help="Run it on a real store with the real monitor: slower, but complete."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Try the rules on simulated calls: how often a good version is rolled back, and how soon a bad one.

    The rules are those of [monitor] in rollguard.toml, or the defaults.
    """
    from rollguard.cli.scenarios import ready_made, scenario_of
    from rollguard.settings import Settings

    if scenario is None:
        _list(ready_made(), as_json=as_json)
        return
    name, played = scenario_of(scenario)
    if seed is not None:
        played = played.model_copy(update={"seed": seed})
    rules = Settings.load(config).monitor
    with progress(name) as advance:
        outcomes = _outcomes(played, decision, rules, runs, every * _MINUTE, advance, through_monitor=through_monitor)
    found = {
        "scenario": name,
        "about": played.about,
        "seed": played.seed,
        "runs": runs,
        "check_every_minutes": every,
        "through_monitor": through_monitor,
        "worse_from_hours": played.worse_from,
        "results": [_result(decided, outcome) for decided, outcome in outcomes.items()],
    }
    if as_json:
        output.emit_json(found)
    else:
        _show(found)
    if not through_monitor:
        _note_left_out(rules)


def _note_left_out(rules: Rules) -> None:
    from rollguard.evaluate.simulate_counts import NOT_BY_COUNTS
    from rollguard.judge import Rules as Defaults

    left_out = [name for name in NOT_BY_COUNTS if getattr(rules, name) != getattr(Defaults(), name)]
    if left_out:
        output.note(f"not played by the counts: {', '.join(left_out)}; play them with --through-monitor")


def _list(scenarios: dict[str, Scenario], *, as_json: bool) -> None:
    if as_json:
        output.emit_json([{"name": name, **scenario.model_dump()} for name, scenario in scenarios.items()])
        return
    rows = [(name, scenario.about) for name, scenario in scenarios.items()]
    output.listing(("Scenario", "What happens~"), rows, nothing="There are none.")


def _outcomes(
    scenario: Scenario,
    which: Which,
    rules: Rules,
    runs: int,
    every: float,
    advance: Callable[[float], object],
    *,
    through_monitor: bool,
) -> dict[str, Rollbacks]:
    from rollguard.evaluate.simulate_counts import Rollbacks

    decisions = [Which.threshold, Which.evidence] if which is Which.both else [which]
    found = {}
    for number, decision in enumerate(decisions):

        def advanced(share: float, done: int = number) -> None:
            advance((done + share) / len(decisions))

        play = _through_monitor if through_monitor else _by_counts
        tried = rules.with_overrides({"decision": decision.value})
        found[decision.value] = Rollbacks.of(scenario, play(scenario, tried, runs, every, advanced))
    return found


def _by_counts(
    scenario: Scenario, rules: Rules, runs: int, every: float, advance: Callable[[float], object]
) -> list[Act | None]:
    from rollguard.evaluate.simulate_counts import play

    acts = []
    for number, act in enumerate(play(scenario, rules, runs=runs, every=every), start=1):
        acts.append(act)
        advance(number / (runs * scenario.tools))
    return acts


def _through_monitor(
    scenario: Scenario, rules: Rules, runs: int, every: float, advance: Callable[[float], object]
) -> list[Act | None]:
    from rollguard.evaluate.simulator import overrides_of, through_monitor

    acts: list[Act | None] = []
    for run in range(runs):

        def advanced(share: float, done: int = run) -> None:
            advance((done + share) / runs)

        acts += through_monitor(scenario, overrides_of(rules), run=run, every=every, advance=advanced)
    return acts


def _result(decision: str, outcome: Rollbacks) -> dict[str, Any]:
    from rollguard.evaluate.simulate_counts import interval, within

    low, high = interval(outcome.wrong, outcome.deployments)
    return {
        "decision": decision,
        "deployments": outcome.deployments,
        "wrongly_rolled_back": outcome.wrong,
        "wrongly_share": outcome.wrong / outcome.deployments,
        "wrongly_interval": [low, high],
        "rightly_rolled_back": outcome.right,
        "worse": outcome.worse,
        "rightly_share": outcome.right / outcome.worse if outcome.worse else None,
        "median_delay_seconds": within(outcome.delays, 0.5),
        "p90_delay_seconds": within(outcome.delays, 0.9),
        "median_calls": within(outcome.calls, 0.5),
    }


def _show(found: dict[str, Any]) -> None:
    if found["about"]:
        output.lines(found["about"])
    results, worse = found["results"], found["worse_from_hours"] is not None
    how = "through the monitor" if found["through_monitor"] else "by the counts"
    output.lines(
        f"{results[0]['deployments']} deployments, judged {how} every {found['check_every_minutes']:g} min, "
        f"seed {found['seed']}",
        "",
    )
    columns = ["Rule", "Wrong>", "Share>", "95 % interval>"]
    columns += ["Found>", "Half in>", "90 % in>", "Calls, half>"] if worse else []
    output.listing(columns, [_row(result)[: len(columns)] for result in results], nothing="")


def _row(result: dict[str, Any]) -> list[object]:
    low, high = result["wrongly_interval"]
    calls = result["median_calls"]
    return [
        result["decision"],
        result["wrongly_rolled_back"],
        percent(result["wrongly_share"]),
        f"{100 * low:.1f}–{100 * high:.1f} %",
        percent(result["rightly_share"]),
        _span(result["median_delay_seconds"]),
        _span(result["p90_delay_seconds"]),
        NOTHING if calls is None else calls,
    ]


def _span(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(timedelta(seconds=seconds))
