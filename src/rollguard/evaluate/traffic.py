"""Generate the calls of a scenario: the same seed gives the same calls on every machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from rollguard.evaluate.scenario import Scenario

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool.

    Attributes:
        at: its time in seconds after the deployment; negative is before it.
        succeeded: whether it succeeded.
        duration_ms: its duration in milliseconds.
        error_type: the type of its error; None if it succeeded.
        request: the request that it belongs to; None if calls do not name their request.
    """

    at: float
    succeeded: bool
    duration_ms: float
    error_type: str | None
    request: int | None


def calls_of(scenario: Scenario, tool: int, run: int = 0) -> list[Call]:
    """Return every call of one tool in one run of the scenario, in the order of time.

    They depend neither on the other tools nor on the rules.
    """
    scenario = scenario.of_tool(tool)
    chance = Random(f"{scenario.seed}/{run}/{tool}")  # noqa: S311 - a simulation, nothing is kept secret with it
    calls = [call for n, at in enumerate(_times(scenario, chance)) for call in _request(scenario, chance, n, at)]
    end = scenario.traffic.watched_hours * HOUR
    return sorted((call for call in calls if call.at <= end), key=lambda call: call.at)


def success_at(scenario: Scenario, at: float) -> float:
    """Return the success rate at a time, in seconds after the deployment."""
    rates, outage = scenario.success, scenario.outage
    changed = rates.after is not None and at >= rates.changes_after_hours * HOUR and at >= 0.0
    rate = rates.after if changed and rates.after is not None else rates.before
    if outage is not None and 0.0 <= at - outage.after_hours * HOUR < outage.minutes * 60.0:
        rate = min(rate, outage.success)
    return rate


def _times(scenario: Scenario, chance: Random) -> Iterator[float]:
    """Yield the times of a Poisson process; the daily rhythm thins out a faster one. The deployment is at noon."""
    traffic = scenario.traffic
    at, end = -traffic.baseline_days * DAY, traffic.watched_hours * HOUR
    fastest = traffic.calls_per_hour * (1.0 + traffic.daily) / HOUR
    while True:
        at += chance.expovariate(fastest)
        if at > end:
            return
        share = (1.0 + traffic.daily * math.cos(2.0 * math.pi * at / DAY)) / (1.0 + traffic.daily)
        if traffic.daily == 0.0 or chance.random() < share:
            yield at


def _request(scenario: Scenario, chance: Random, number: int, at: float) -> Iterator[Call]:
    """Yield the call of one request, and its retries if it fails."""
    retries = scenario.retries
    request = number if retries is not None and retries.request_ids else None
    call = _call(scenario, chance, at, request, failed=chance.random() >= success_at(scenario, at))
    yield call
    for attempt in range(1, 1 + (retries.times if retries is not None else 0)):
        if call.succeeded or retries is None:
            return
        again = at + attempt * retries.after_seconds
        call = _call(scenario, chance, again, request, failed=chance.random() < retries.fails_again)
        yield call


def _call(scenario: Scenario, chance: Random, at: float, request: int | None, *, failed: bool) -> Call:
    durations = scenario.durations
    factor = durations.factor_after if at >= 0.0 else 1.0
    duration = factor * durations.median_ms * math.exp(durations.spread * chance.gauss(0.0, 1.0))
    error = chance.choices(list(scenario.errors), list(scenario.errors.values()))[0] if failed else None
    return Call(at, not failed, duration, error, request)
