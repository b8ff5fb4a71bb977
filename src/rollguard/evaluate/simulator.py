"""A scenario through the real thing: store, registry and monitor, with a clock that is turned by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulate_counts import NOON, Act
from rollguard.evaluate.traffic import HOUR, Call, calls_of
from rollguard.judge import Rules
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.registry import ToolRegistry
from rollguard.store import ExecutionStore


def overrides_of(rules: Rules) -> dict[str, Any]:
    """The rules as what a session overrides; how long it is watched is the scenario's to say."""
    return {name: value for name, value in rules.to_dict().items() if name != "monitoring_window_hours"}


def through_monitor(
    scenario: Scenario,
    overrides: Mapping[str, Any],
    *,
    run: int = 0,
    every: float = 300.0,
    advance: Callable[[float], object] = lambda _share: None,
) -> list[Act | None]:
    """Deploy every tool of a scenario and watch it, on a SQLite store in a temporary folder.

    A tool that is rolled back is called on, in its old version: what happens to it tells the monitor of an outage.

    Args:
        scenario: what happens.
        overrides: the sessions' rules, by the names of `DeploymentMonitor.start_monitoring`.
        run: which of the scenario's runs.
        every: seconds between two checks.
        advance: told how much of the time has passed, from 0 to 1.

    Returns:
        For each tool its rollback, or None.

    Raises:
        InvalidSetting: an override is unknown or out of its range.
    """
    with (
        tempfile.TemporaryDirectory(prefix="rollguard-") as folder,
        ExecutionStore(f"sqlite:///{folder}/simulated.db") as store,
    ):
        stage = _Stage(scenario, store, ToolRegistry(Path(folder) / "tools", store=store), run)
        stage.deploy(overrides)
        until = scenario.traffic.watched_hours * HOUR
        look = every
        while look <= until and stage.under_watch:
            stage.look(look)
            advance(look / until)
            look += every
        return [stage.acts.get(name) for name in stage.names]


class _Stage:
    """The tools, their calls, and what was seen of them so far."""

    def __init__(self, scenario: Scenario, store: ExecutionStore, registry: ToolRegistry, run: int) -> None:
        self.scenario, self.store, self.registry, self.run = scenario, store, registry, run
        self.names = [f"tool_{number:05}" for number in range(scenario.tools)]
        self.acts: dict[str, Act] = {}
        self._monitor = DeploymentMonitor(store, registry, notifiers=[])
        self._following = {name: calls_of(scenario, number, run) for number, name in enumerate(self.names)}

    @property
    def under_watch(self) -> bool:
        """Whether any deployment is still watched."""
        return len(self.acts) < len(self.names)

    def deploy(self, overrides: Mapping[str, Any]) -> None:
        """Let the old versions be called, then make the new ones live."""
        began = NOON - timedelta(days=self.scenario.traffic.baseline_days)
        for name in self.names:
            self.registry.deploy(name, _code(name, 1), deployed_at=began)
        self._write(until=0.0, before=True)
        for name in self.names:
            version = self.registry.deploy(name, _code(name, 2), deployed_at=NOON)
            rules = {"monitoring_window_hours": self.scenario.traffic.watched_hours, **overrides}
            self._monitor.start_monitoring(name, NOON, version=version, now=NOON, **rules)

    def look(self, at: float) -> None:
        """Let the calls up to `at` happen, then look after every deployment."""
        self._write(until=at)
        for taken in self._monitor.session_checks.run(self._monitor.get_active_sessions(), _moment(at)):
            if isinstance(taken, Exception):
                raise taken
            if taken.rollback_performed:
                name = taken.report.session.tool_name
                self.acts[name] = Act(at, taken.report.judgement.comparison.current.total)
                self._go_on_as_before(name, at)

    def _write(self, *, until: float, before: bool = False) -> None:
        self.store.executions.write_from(
            self._execution(name, call, version=1 if before or name in self.acts else 2)
            for name, calls in self._following.items()
            for call in _taken(calls, until, before=before)
        )

    def _go_on_as_before(self, name: str, at: float) -> None:
        calls = calls_of(self.scenario.unchanged(), self.names.index(name), self.run)
        self._following[name] = [call for call in calls if call.at > at]

    def _execution(self, name: str, call: Call, *, version: int) -> dict[str, Any]:
        given: dict[str, Any] = {
            "tool_name": name,
            "success": call.succeeded,
            "duration_ms": call.duration_ms,
            "error_type": call.error_type,
            "error": None if call.error_type is None else f"{call.error_type}: simulated",
            "executed_at": _moment(call.at),
            "version_number": version,
        }
        if call.request is not None:
            given["request_id"] = f"{name}-{call.request}"
        return given


def _taken(calls: list[Call], until: float, *, before: bool) -> Iterator[Call]:
    """Take the calls up to `until` out of the list; those at exactly the deployment's time come after it."""
    count = 0
    while count < len(calls) and (calls[count].at < until or (calls[count].at == until and not before)):
        count += 1
    taken, calls[:count] = calls[:count], []
    yield from taken


def _moment(at: float) -> datetime:
    return NOON + timedelta(seconds=at)


def _code(name: str, version: int) -> str:
    return f"def {name}():\n    return {version}\n"
