"""Rollouts, confirmations and replacing at once, through the real registry, store and monitor, with a simulated clock.

One tool alone in its store, so no other tool shows an outage. Whether a call would fail is decided before it is known
which version it gets, by one random number for both. So all ways, and the rules of others, see the same streams.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from rollguard.evaluate.simulate_counts import NOON, interval
from rollguard.judge import ConcurrentEvidence, Rules
from rollguard.judge.concurrent import Stage
from rollguard.model.split import Draws
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.registry import ToolRegistry
from rollguard.store import ExecutionStore
from studies import peers

HOUR, MINUTE = 3600.0, 60.0
PER_HOUR = 240.0  # calls
WATCHED = 3.0  # hours
BEFORE = 1000  # calls
SHARES = (0.1, 0.25, 0.5)
STAGES = (50, 100, 200, 400)  # calls
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


def through_monitor(case: Case, way: str, template: Path, seed: int) -> Found | None:
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
        self._draws, self._live = Draws(f"{way}/{seed}"), 1
        self._waiting: list[dict[str, Any]] = []
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
        self._follow()

    def run(self) -> Found | None:
        """Make the calls. Check every ten minutes, and after calls that failed, as others hardly raise evidence.

        A worse version is checked after each of them, another one after five calls at least.
        """
        every, looked, least = 600.0, 0, 5 if self.case.after is None else 1
        for one in self._stream:
            while every < one.at:
                if self._check(every, scheduled=True):
                    return self._found()
                every += 600.0
            if self._call(one) and self.calls - looked >= least:
                looked = self.calls
                if self._check(one.at + _LATER, scheduled=False):
                    return self._found()
        return None

    def _call(self, one: Try) -> bool:
        """Make a call, and again if callers do; return whether one failed."""
        at, number, failures = one.at, one.number, 0
        for attempt in range(3):
            given = self._drawn(one.request)
            new = given["version_number"] == 2
            failed = number < self.case.rate(at / HOUR, new=new)
            self.calls += attempt == 0
            self.harmed += new and attempt == 0
            if one.request is not None:
                given["request_id"] = one.request
            failures += failed
            self._waiting.append(_execution(at, not failed, **given))
            if not failed or one.request is None:
                break
            at, number = at + 0.5, 0.0 if self._chance.random() < 0.9 else 1.0
        return failures > 0

    def _follow(self) -> None:
        """Learn what serves now, as a process does; only checks change it."""
        split, live = self.store.rollouts.splits().get(_TOOL), self.store.versions.live(_TOOL)
        # The real key is random; this one gives the same draws each time.
        self._draws.use_split(_TOOL, split and replace(split, key=b"the key of the study"))
        self._live = live.version_number if live else 0

    def _drawn(self, request: str | None) -> dict[str, Any]:
        drawn = self._draws.drawn(_TOOL, request)
        if drawn is None:
            return {"version_number": self._live}
        arm = {"rollout_id": drawn.rollout_id, "stage": drawn.stage, "arm": str(drawn.arm)}
        return {"version_number": drawn.version, **arm}

    def _check(self, at: float, *, scheduled: bool) -> bool:
        self.store.executions.write_from(self._waiting)
        self._waiting.clear()
        now, active = NOON + timedelta(seconds=at), self.monitor.get_active_sessions()
        for taken in self.monitor.session_checks.run(active, now, scheduled=scheduled):
            if isinstance(taken, Exception):
                raise taken
            if taken.rollback_performed:
                return True
        self._follow()
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
        for way, found_of in _ways(case):
            number = runs_outage if case.outage is not None and way in ("confirm", "canary") else runs
            wrong = sum(act is not None for act in found_of(number))
            cells.append(f"{_share(wrong, number)} (≤ {100 * interval(wrong, number)[1]:.1f} %)")
        rows.append(cells)
    return ["a good version, and", *RULES, *PEERS], rows


def rows_worse(runs: int) -> tuple[list[str], list[list[str]]]:
    """Return after how many calls a worse version is rolled back, how many it got, and how often it is found."""
    rows = []
    for case in WORSE:
        cells = [case.title]
        for _way, found_of in _ways(case):
            found = [act for act in found_of(runs) if act is not None]
            if not found:
                cells.append("never")
                continue
            calls, harmed = (sum(getattr(act, name) for act in found) / len(found) for name in ("calls", "harmed"))
            late = "" if len(found) == runs else f", {_share(len(found), runs)} found"
            cells.append(f"{calls:.0f} ({harmed:.0f}){late}")
        rows.append(cells)
    return ["success rate", *RULES, *PEERS], rows


def rows_stages(runs: int) -> tuple[list[str], list[list[str]]]:
    """Return how often a rollout finds a worse version by the end of its last stage, by the calls of a stage."""
    rows = []
    for case in WORSE:
        found = [sum(_found_within(case, calls, seed) for seed in range(runs)) for calls in STAGES]
        rows.append([case.title, *(_share(number, runs) for number in found)])
    return ["success rate", *(f"{calls} calls a stage" for calls in STAGES)], rows


def _found_within(case: Case, calls: int, seed: int) -> bool:
    """Return whether the counts of both versions are evidence after some call that failed. No clock, no store."""
    chance, before = Random(f"stages/{case.title}/{calls}/{seed}"), round(BEFORE * case.rate(0.0, new=False))
    test, over = ConcurrentEvidence(BEFORE, before, Rules().alpha_of_each(rollout=True)), list[Stage]()
    for share in SHARES:
        counts = [0, 0, 0, 0]
        for _ in range(calls):
            new = chance.random() < share
            failed = chance.random() < case.rate(0.0, new=new)
            counts[0 if new else 2] += 1
            counts[1 if new else 3] += failed
            if failed and test.log_e([*over, Stage(share, *counts)]) >= test.required:
                return True
        over.append(Stage(share, *counts))
    return False


_Acts = Callable[[int], list[Found | None]]
"""What so many runs found."""


def _ways(case: Case) -> Iterator[tuple[str, _Acts]]:
    """Yield each way and each other rule; several processes share the runs of one."""
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder, ProcessPoolExecutor() as pool:
        template = Path(folder) / "empty.db"
        ExecutionStore(f"sqlite:///{template}").close()
        for way in RULES:
            yield way, partial(_runs, pool, partial(through_monitor, case, way, template))
        for peer in PEERS:
            yield peer, partial(_runs, pool, partial(by_peer, case, peer))


def _runs(pool: ProcessPoolExecutor, one: Callable[[int], Found | None], runs: int) -> list[Found | None]:
    return list(pool.map(one, range(runs), chunksize=max(1, runs // 20)))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} % of {whole}"
