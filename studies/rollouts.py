"""Rollouts, confirmations and replacing at once, through the real registry, store and monitor, with a simulated clock.

One tool alone in its store, so no other tool shows an outage. Whether a call would fail is decided before it is known
which version it gets, by one random number for both. So all ways, and the rules of others, see the same streams.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from rollguard.evaluate.simulate_counts import NOON, interval
from rollguard.model.split import Draws
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.registry import ToolRegistry
from rollguard.store import ExecutionStore
from studies import peers

HOUR, MINUTE = 3600.0, 60.0
PER_HOUR = 120.0  # calls
WATCHED = 3.0  # hours
BEFORE = 1000  # calls
SHARES = (0.1, 0.25, 0.5)
RULES: dict[str, dict[str, Any]] = {
    "replace": {"decision": "evidence"},
    "confirm": {"decision": "evidence", "confirm": "concurrent"},
    "canary": {"decision": "evidence", "rollout_stage_minutes": 55.0, "rollout_limit_hours": 3.0},
}
PEERS = ("GrowthBook's gbstats 0.8.0", "gbstats, tuned", "Argo Rollouts, 95 %")
_LATER = 3.0  # seconds after which a call may be counted
_TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Case:
    """How a tool fails.

    Attributes:
        title: what the table calls it.
        after: the failure rate of the new version; None is that of the old one.
        outage: hours from the deployment to an outage of 30 minutes in which 9 of 10 calls fail.
        daily: how much the failure rate follows the hours of the day.
        drift: by how much it rises per hour since the deployment.
        retries: whether callers name requests and try failed ones again, which fail again with probability 0.9.
    """

    title: str
    after: float | None = None
    outage: float | None = None
    daily: float = 0.0
    drift: float = 0.0
    retries: bool = False

    def rate(self, hours: float, *, new: bool) -> float:
        """Return the failure rate of a version at a time since the deployment."""
        rate = 0.05 * (1.0 - self.daily * math.cos(2.0 * math.pi * (hours + 2.0) / 24.0))
        rate += self.drift * max(0.0, hours)
        if new and self.after is not None:
            rate = self.after
        if self.outage is not None and 0.0 <= hours - self.outage < 0.5:
            rate = max(rate, 0.9)
        return rate


UNCHANGED = (
    Case("nothing changes"),
    Case("an outage of 30 minutes", outage=0.25),
    Case("a daily pattern", daily=0.9),
    Case("drift", drift=0.04),
    Case("retries", retries=True),
)
WORSE = (Case("95 % → 0 %", after=1.0), Case("95 % → 60 %", after=0.4), Case("95 % → 75 %", after=0.25))


@dataclass(frozen=True, slots=True)
class Try:
    """One call: when it is made, for which request, and the number that decides whether it fails."""

    at: float
    request: str | None
    number: float


@dataclass(frozen=True, slots=True)
class Found:
    """A rollback: after how many calls, and how many of them the new version got."""

    calls: int
    harmed: int


def stream(case: Case, seed: int) -> list[Try]:
    """Return the calls since the deployment, without what depends on the version: retries follow when they are made."""
    chance = Random(f"rollouts/{case.title}/{seed}")
    at = 0.0
    found: list[Try] = []
    while (at := at + chance.expovariate(PER_HOUR / HOUR)) < WATCHED * HOUR:
        found.append(Try(at, f"request {len(found)}" if case.retries else None, chance.random()))
    return found


def through_monitor(case: Case, way: str, seed: int, template: Path) -> Found | None:
    """Deploy, call and monitor one tool; return its rollback, or None.

    Args:
        template: an empty store, which is copied.
    """
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        shutil.copy(template, Path(folder) / "simulated.db")
        with ExecutionStore(f"sqlite:///{folder}/simulated.db") as store:
            return _Simulation(case, way, seed, store, Path(folder) / "tools").run()


class _Simulation:
    def __init__(self, case: Case, way: str, seed: int, store: ExecutionStore, tools: Path) -> None:
        self.case, self.store, self.calls, self.harmed = case, store, 0, 0
        self.registry = ToolRegistry(tools, store=store)
        self.monitor = DeploymentMonitor(store, self.registry, notifiers=[], **RULES[way])
        self._stream, self._chance = stream(case, seed), Random(f"others/{way}/{seed}")
        self._draws = Draws(f"{way}/{seed}")
        self._shares = SHARES if way == "canary" else ()
        self._deploy(seed)

    def _deploy(self, seed: int) -> None:
        self.registry.deploy(_TOOL, _code(1), deployed_at=NOON - timedelta(hours=24))
        chance = Random(f"before/{self.case.title}/{seed}")
        start = -BEFORE / PER_HOUR
        self.store.executions.write_from(
            _execution(hours * HOUR, chance.random() >= self.case.rate(hours, new=False), version_number=1)
            for hours in (start + n / PER_HOUR for n in range(BEFORE))
        )
        watch = self.monitor.watch(_TOOL, now=NOON)
        self.registry.deploy(_TOOL, _code(2), deployed_at=NOON, watch=watch, rollout=self._shares)
        self.session = self.monitor.get_active_sessions()[0]

    def run(self) -> Found | None:
        """Make the calls, and check every ten minutes and every ten calls, of a bad version after every call."""
        every, worse = 600.0, self.case.after is not None
        for one in self._stream:
            while every < one.at:
                if self._check(every, scheduled=True):
                    return self._found()
                every += 600.0
            self._call(one)
            if (worse or self.calls % 10 == 0) and self._check(one.at + _LATER, scheduled=False):
                return self._found()
        return None

    def _call(self, one: Try) -> None:
        """Make a call, and again if callers do."""
        at, number = one.at, one.number
        for attempt in range(3):
            given = self._drawn(one.request)
            new = given["version_number"] == 2
            failed = number < self.case.rate(at / HOUR, new=new)
            self.calls += attempt == 0
            self.harmed += new and attempt == 0
            if one.request is not None:
                given["request_id"] = one.request
            self.store.executions.write_from([_execution(at, not failed, **given)])
            if not failed or one.request is None:
                break
            at, number = at + 0.5, 0.0 if self._chance.random() < 0.9 else 1.0

    def _drawn(self, request: str | None) -> dict[str, Any]:
        split = self.store.rollouts.splits().get(_TOOL)
        # The real key is random; this one gives the same draws each time.
        self._draws.told(_TOOL, split and replace(split, key=b"the key of the study"))
        drawn = self._draws.drawn(_TOOL, request)
        if drawn is None:
            live = self.store.versions.live(_TOOL)
            return {"version_number": live.version_number if live else None}
        arm = {"rollout_id": drawn.rollout_id, "stage": drawn.stage, "arm": str(drawn.arm)}
        return {"version_number": drawn.version, **arm}

    def _check(self, at: float, *, scheduled: bool) -> bool:
        now, active = NOON + timedelta(seconds=at), self.monitor.get_active_sessions()
        for taken in self.monitor.session_checks.run(active, now, scheduled=scheduled):
            if isinstance(taken, Exception):
                raise taken
            if taken.rollback_performed:
                return True
        return False

    def _found(self) -> Found:
        return Found(self.calls, self.harmed)


def _execution(at: float, success: bool, **given: Any) -> dict[str, Any]:
    error = None if success else "ToolError: simulated"
    moment: datetime = NOON + timedelta(seconds=at)
    return {
        "tool_name": _TOOL,
        "success": success,
        "duration_ms": 20.0,
        "error": error,
        "executed_at": moment,
        **given,
    }


def _code(version: int) -> str:
    return f"def {_TOOL}():\n    return {version}\n"


# --- the rules of others ---------------------------------------------------------------------------------------------


def by_peer(case: Case, peer: str, seed: int) -> Found | None:
    """Return when another rule rolls back: GrowthBook's at half of the calls, looking every five; Argo's at all."""
    calls = stream(case, seed)
    if peer.startswith("Argo"):
        act = peers.argo(_minutes(case, calls))
        return None if act is None else Found(act.calls, act.calls)
    draw, arms = Random(f"draw/{seed}"), {True: [0, 0], False: [0, 0]}
    tuning = 500.0 if "tuned" in peer else 5000.0
    for number, one in enumerate(calls, start=1):
        new = draw.random() < 0.5
        arms[new][0] += 1
        arms[new][1] += one.number < case.rate(one.at / HOUR, new=new)
        bound = peers.gbstats_bound((arms[False][0], arms[False][1]), (arms[True][0], arms[True][1]), tuning=tuning)
        if number % 5 == 0 and bound is not None and bound > 0.0:
            return Found(number, arms[True][0])
    return None


def _minutes(case: Case, calls: Sequence[Try]) -> peers.Minutes:
    counts = [[0, 0] for _ in range(round(WATCHED * 60))]
    for one in calls:
        minute = counts[int(one.at // MINUTE)]
        minute[0] += 1
        minute[1] += one.number < case.rate(one.at / HOUR, new=True)
    return peers.Minutes(tuple(n for n, _f in counts), tuple(f for _n, f in counts))


# --- the tables ------------------------------------------------------------------------------------------------------


def rows_unchanged(runs: int, runs_outage: int) -> tuple[list[str], list[list[str]]]:
    """Return how often a good version is rolled back, by case and way; in an outage with more runs."""
    rows = []
    for case in UNCHANGED:
        cells = [case.title]
        for way, one in _ways(case):
            number = runs_outage if case.outage is not None and way in ("confirm", "canary") else runs
            wrong = sum(one(seed) is not None for seed in range(number))
            cells.append(f"{_share(wrong, number)} (≤ {100 * interval(wrong, number)[1]:.1f} %)")
        rows.append(cells)
    return ["a good version, and", *RULES, *PEERS], rows


def rows_worse(runs: int) -> tuple[list[str], list[list[str]]]:
    """Return after how many calls a worse version is rolled back, how many it got, and how often it is found."""
    rows = []
    for case in WORSE:
        cells = [case.title]
        for _way, one in _ways(case):
            found = [act for seed in range(runs) if (act := one(seed)) is not None]
            if not found:
                cells.append("never")
                continue
            calls, harmed = (sum(getattr(act, name) for act in found) / len(found) for name in ("calls", "harmed"))
            late = "" if len(found) == runs else f", {_share(len(found), runs)} found"
            cells.append(f"{calls:.0f} ({harmed:.0f}){late}")
        rows.append(cells)
    return ["success rate", *RULES, *PEERS], rows


def _ways(case: Case) -> Iterator[tuple[str, Callable[[int], Found | None]]]:
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        template = Path(folder) / "empty.db"
        ExecutionStore(f"sqlite:///{template}").close()
        for way in RULES:
            yield way, lambda seed, way=way: through_monitor(case, way, seed, template)  # type: ignore[misc]
        for peer in PEERS:
            yield peer, lambda seed, peer=peer: by_peer(case, peer, seed)  # type: ignore[misc]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} % of {whole}"
