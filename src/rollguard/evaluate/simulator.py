"""Run a scenario through the real store, registry and monitor, with a simulated clock."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulate_counts import NOON, Act
from rollguard.evaluate.traffic import HOUR, Call, calls_of, success_at
from rollguard.judge import Rules
from rollguard.model.split import Draws
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.registry import ToolRegistry
from rollguard.store import Beginning, ExecutionStore

_KEY = b"simulated"  # in place of a random one, so that the same seed gives the same draws


def overrides_of(rules: Rules) -> dict[str, Any]:
    """Return the rules as overrides of a session, without its length, which the scenario sets."""
    return {name: value for name, value in rules.to_dict().items() if name != "monitoring_window_hours"}


def through_monitor(
    scenario: Scenario,
    overrides: Mapping[str, Any],
    *,
    run: int = 0,
    every: float = 300.0,
    together: int = 0,
    advance: Callable[[float], object] = lambda _share: None,
) -> list[Act | None]:
    """Deploy and monitor every tool of a scenario, on a SQLite store in a temporary folder.

    The old version of a tool that was rolled back is still called, because its calls may show an outage. If both
    versions serve, each request is drawn as a process draws it. What the old version answers is drawn at its own rate.

    Args:
        scenario: the scenario to run.
        overrides: the sessions' rules, by the names of `DeploymentMonitor.start_monitoring`.
        run: the number of the scenario's run.
        every: seconds between two checks.
        together: tools of one release; 0 deploys each tool on its own.
        advance: called with the share of the time that has passed, from 0 to 1.

    Returns:
        The rollback of each tool, or None.

    Raises:
        InvalidSetting: an override is unknown or out of its range.
    """
    with (
        tempfile.TemporaryDirectory(prefix="rollguard-") as folder,
        ExecutionStore(f"sqlite:///{folder}/simulated.db") as store,
    ):
        simulation = _Simulation(scenario, store, ToolRegistry(Path(folder) / "tools", store=store), run)
        simulation.deploy({"monitoring_window_hours": scenario.traffic.watched_hours, **overrides}, together)
        until = scenario.traffic.watched_hours * HOUR
        now = every
        while now <= until and simulation.monitoring:
            simulation.check(now)
            advance(now / until)
            now += every
        return [simulation.acts.get(name) for name in simulation.names]


class _Simulation:
    """The tools, their pending calls, and their rollbacks so far."""

    def __init__(self, scenario: Scenario, store: ExecutionStore, registry: ToolRegistry, run: int) -> None:
        self.scenario, self.store, self.registry, self.run = scenario, store, registry, run
        self.names = [f"tool_{number:05}" for number in range(scenario.tools)]
        self.acts: dict[str, Act] = {}
        self._monitor = DeploymentMonitor(store, registry, notifiers=[])
        self._pending = {name: calls_of(scenario, number, run) for number, name in enumerate(self.names)}
        self._draws, self._old = Draws(f"{scenario.seed}/{run}"), _OldAnswers(scenario, run)
        self._live: dict[str, int] = {}

    @property
    def monitoring(self) -> bool:
        """Return whether any deployment is still monitored."""
        return len(self.acts) < len(self.names)

    def deploy(self, overrides: Mapping[str, Any], together: int = 0) -> None:
        """Record the calls of the old versions, then deploy and monitor the new ones."""
        began = NOON - timedelta(days=self.scenario.traffic.baseline_days)
        for name in self.names:
            self.registry.deploy(name, _code(name, 1), deployed_at=began)
        self._write(until=0.0, before=True)
        size = together or 1
        for first in range(0, len(self.names), size):
            codes = {name: _code(name, 2) for name in self.names[first : first + size]}
            if together:
                self.registry.release(f"release {first}", codes, released_at=NOON)
            for name, code in codes.items():
                if together:
                    self._monitor.start_monitoring(name, NOON, now=NOON, **overrides)
                else:
                    watch = Beginning(self._monitor.rules.with_overrides(overrides), NOON)
                    self.registry.deploy(name, code, deployed_at=NOON, watch=watch, rollout=watch.rules.rollout)

    def check(self, at: float) -> None:
        """Record the calls up to `at`, then check every deployment."""
        self._write(until=at)
        for taken in self._monitor.session_checks.run(self._monitor.get_active_sessions(), _moment(at)):
            if isinstance(taken, Exception):
                raise taken
            if taken.rollback_performed:
                name = taken.report.session.tool_name
                self.acts[name] = Act(at, taken.report.judgement.comparison.current.total)
                self._call_old_version(name, at)

    def _write(self, *, until: float, before: bool = False) -> None:
        splits = self.store.rollouts.splits()
        for name in self.names:
            split = splits.get(name)
            self._draws.use_split(name, split and replace(split, key=_KEY))
        self._live = {name: one.version_number for name, one in self.store.versions.live_of_all().items()}
        self.store.executions.write_from(
            execution
            for name, calls in self._pending.items()
            for call in _take(calls, until, before=before)
            if (execution := self._execution(name, call, before=before)) is not None
        )

    def _call_old_version(self, name: str, at: float) -> None:
        calls = calls_of(self.scenario.unchanged(), self.names.index(name), self.run)
        self._pending[name] = [call for call in calls if call.at > at]

    def _execution(self, name: str, call: Call, *, before: bool) -> dict[str, Any] | None:
        """Return the execution of a call; None if it is a retry that is not needed."""
        request = None if call.request is None else f"{name}-{call.request}"
        drawn = None if before else self._draws.drawn(name, request)
        version = self._live[name] if drawn is None else drawn.version
        if version == 1 and not before and name not in self.acts:
            answered = self._old.answer(call, request)
            if answered is None:
                return None
            call = answered
        given: dict[str, Any] = {
            "tool_name": name,
            "success": call.succeeded,
            "duration_ms": call.duration_ms,
            "error_type": call.error_type,
            "error": None if call.error_type is None else f"{call.error_type}: simulated",
            "executed_at": _moment(call.at),
            "version_number": version,
        }
        if request is not None:
            given["request_id"] = request
        if drawn is not None:
            given |= {"rollout_id": drawn.rollout_id, "stage": drawn.stage, "arm": str(drawn.arm)}
        return given


class _OldAnswers:
    """What the old version answers to calls while the new one serves, too."""

    def __init__(self, scenario: Scenario, run: int) -> None:
        self._scenario, self._succeeded = scenario.unchanged(), set[str]()
        self._chance = Random(f"{scenario.seed}/{run}/old")  # noqa: S311 - a simulation

    def answer(self, call: Call, request: str | None) -> Call | None:
        """Return the call as it answers; None if it is a retry of a request that it answered."""
        if request in self._succeeded:
            return None
        errors, chance = self._scenario.errors, self._chance
        succeeded = chance.random() < success_at(self._scenario, call.at)
        if succeeded and request is not None:
            self._succeeded.add(request)
        error = None if succeeded else chance.choices(list(errors), list(errors.values()))[0]
        return replace(call, succeeded=succeeded, error_type=error)


def _take(calls: list[Call], until: float, *, before: bool) -> Iterator[Call]:
    """Remove and yield the calls up to `until`; with `before`, those at exactly that time stay."""
    count = 0
    while count < len(calls) and (calls[count].at < until or (calls[count].at == until and not before)):
        count += 1
    taken, calls[:count] = calls[:count], []
    yield from taken


def _moment(at: float) -> datetime:
    return NOON + timedelta(seconds=at)


def _code(name: str, version: int) -> str:
    return f"def {name}():\n    return {version}\n"
