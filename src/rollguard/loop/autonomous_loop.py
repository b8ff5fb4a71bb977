"""`AutonomousLoop`: run the stages, each on its own schedule, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from rollguard.errors import InvalidSetting, StoreBusy, StoreUnavailable
from rollguard.loop.outage import Outage
from rollguard.loop.rules import HEALTH_SECONDS, PRESETS, checked_rules
from rollguard.loop.stages import MaintenanceStage, ResidentStage, Stage, default_stages
from rollguard.loop.stages.health import COUNTERS
from rollguard.loop.threads import in_thread, outcome, said, traced
from rollguard.model.given import checked_all, checked_now
from rollguard.model.log import EXITS, described, logger_of
from rollguard.model.own_spans import span
from rollguard.monitor.deployment_monitor import DeploymentMonitor

if TYPE_CHECKING:  # it brings the sandbox, and a program that only monitors starts sooner without
    from rollguard.loop.improvement import Improvement, Planned

logger = logger_of(__name__)

_SHORTEST_RETRY, _RETRY_SECONDS = 0.1, 15.0  # after a stage that failed


class AutonomousLoop:
    """The autonomous loop: a list of stages, each on its own schedule.

    Without `improvement` it monitors: it checks deployments, rolls back and verifies. With it, it also finds weak
    tools, has repairs written, rehearses them, gets them approved, deploys and watches them. Monitoring waits for none
    of that.

    Use `await loop.run()` until stopped, `loop.tick()` for one cycle of every stage, or
    `await loop.check_deployment_health()` to monitor in a loop of your own. Stages run in threads.

    Args:
        deployment_monitor: makes the checks and the rollbacks.
        check_interval_seconds: time between the starts of two cycles (1 to 86400).
        maintenance_interval_hours: time between two runs of maintenance.
        min_executions_for_analysis: a tool with fewer recent calls is left alone.
        improvement_threshold: a tool is weak if its success rate is certainly below this.
        improvement: the parts of an improvement; its rules win over the three arguments before.
        health_interval_seconds: time between two checks of a session; by default `check_interval_seconds`.
        stages: what to run; by default the stages of monitoring, of maintenance and of the improvement.
        dry_run: only say what would be improved: no stage runs, and nothing is written.

    Attributes:
        stages: the list that runs; add, replace or remove stages before you call `run`.
        stats: totals of this object since its start: cycles, checks, rollbacks_triggered, rollbacks_failed,
            sessions_completed, errors, arrival_checks, and the counts of other stages. `statistics` are the store's.

    Raises:
        InvalidSetting: a value is out of its range.
    """

    def __init__(
        self,
        deployment_monitor: DeploymentMonitor,
        *,
        check_interval_seconds: float = 300.0,
        maintenance_interval_hours: float = 24.0,
        min_executions_for_analysis: int = 10,
        improvement_threshold: float = 0.7,
        improvement: Improvement | None = None,
        health_interval_seconds: float | None = None,
        stages: Sequence[Stage] | None = None,
        dry_run: bool = False,
    ) -> None:
        health = check_interval_seconds if health_interval_seconds is None else health_interval_seconds
        self._interval = _checked_interval("check_interval_seconds", health)
        self.rules = (
            improvement.rules
            if improvement
            else checked_rules(
                check_interval_seconds=check_interval_seconds,
                maintenance_interval_hours=maintenance_interval_hours,
                min_executions_for_analysis=min_executions_for_analysis,
                improvement_threshold=improvement_threshold,
            )
        )
        self._monitor, self._improvement, self.dry_run = deployment_monitor, improvement, dry_run
        if stages is None:
            stages = default_stages(deployment_monitor, self._interval)
            stages.append(MaintenanceStage(deployment_monitor.store, self.rules.maintenance_interval_hours))
            if improvement is not None:
                from rollguard.loop.improvement import improvement_stages

                stages += improvement_stages(improvement)
        self.stages = checked_all("stages", stages, "name", "run")
        self._stopped = asyncio.Event()
        self._outage = Outage()
        self.stats: dict[str, int] = dict.fromkeys(("cycles", *COUNTERS, "arrival_checks"), 0)

    @classmethod
    def preset(
        cls, name: str, deployment_monitor: DeploymentMonitor, *, improvement: Improvement | None = None, **given: Any
    ) -> Self:
        """Return a loop with the intervals and limits of a preset: development, production or aggressive.

        Health, verification and notification run every 300 seconds in each of them.

        Args:
            given: other arguments of `AutonomousLoop`, which win over the preset.
        """
        if name not in PRESETS:
            raise InvalidSetting("preset", f"{name!r} is not one of {', '.join(PRESETS)}")
        if improvement is not None:
            improvement = replace(improvement, rules=improvement.rules.model_copy(update=dict(PRESETS[name])))
        values: dict[str, Any] = {"health_interval_seconds": HEALTH_SECONDS, **PRESETS[name], **given}
        return cls(deployment_monitor, improvement=improvement, **values)

    def replace(self, stage: Stage) -> None:
        """Put a stage of yours in the place of the one with its name.

        Raises:
            InvalidSetting: no stage has that name.
        """
        names = [one.name for one in self.stages]
        if stage.name not in names:
            raise InvalidSetting("stages", f"{stage.name!r} is not one of {', '.join(names)}")
        self.stages[names.index(stage.name)] = stage

    def statistics(self) -> dict[str, int]:
        """Return what all loops on this store did so far, as it is stored.

        Returns:
            cycles_completed, opportunities_detected, improvements_attempted, improvements_deployed,
            improvements_failed, rollbacks_triggered, tools_analyzed and maintenance_runs.
        """
        return self._monitor.store.loop_statistics.all()

    def plan(self, now: datetime | None = None) -> list[Planned]:
        """Return the weak tools, and which of them the loop would improve. Nothing is begun."""
        if self._improvement is None:
            return []
        from rollguard.loop.improvement import plan

        return plan(self._improvement, checked_now(now))

    def tick(self, now: datetime | None = None) -> dict[str, int]:
        """Run one cycle in this thread: each stage once, in the order of the list.

        A stage that fails is logged and counted as an error, and stops no other.

        Args:
            now: the moment to act at; by default the present one.

        Returns:
            The counts of all stages.
        """
        if self.dry_run:
            return {"opportunities_detected": sum(one.left_alone is None for one in self.plan(now))}
        cycle: dict[str, int] = {}
        with span("cycle"):
            for stage in list(self.stages):
                if self._interval_of(stage) != 0:
                    counts, _away = self._counted(stage, partial(stage.run, now))
                    _add(counts, cycle)
        _add(cycle, self.stats)
        return {name: number for name, number in cycle.items() if name != "cycles"}

    async def check_deployment_health(self, *, now: datetime | None = None) -> dict[str, int]:
        """Run one cycle of monitoring: each of its stages once, in the order of the list.

        By default a cycle finishes interrupted rollbacks, checks every active session, rolls back if needed, verifies
        earlier rollbacks, delivers notifications and removes old executions. It improves nothing; `tick` does. A stage
        that fails is logged and counted as an error; it stops no other, and runs again in the next cycle.

        Args:
            now: the moment to act at; by default the present one.

        Returns:
            The counts of this cycle's stages: checks, rollbacks_triggered, rollbacks_failed, sessions_completed and
            errors.

        Raises:
            StoreUnavailable: the database cannot be reached, so the sessions are unknown.
        """
        cycle = dict.fromkeys(COUNTERS, 0)
        away: StoreUnavailable | None = None
        for stage in list(self.stages):
            if self._interval_of(stage) == 0 or getattr(stage, "beside_monitoring", False):
                continue
            counts, unavailable = await asyncio.to_thread(self._counted, stage, partial(stage.run, now))
            if stage.name == "health":
                away = unavailable
            _add(counts, self.stats)
            _add({name: number for name, number in counts.items() if name != "cycles"}, cycle)
        if away is not None:
            raise away
        return cycle

    _check_deployment_health = check_deployment_health  # the name in the contract

    async def run(self, *, handle_signals: bool = True) -> None:
        """Run every stage on its own schedule, until `stop` is called.

        Loops on the same database share the sessions. Between two scheduled checks, the loop checks tools right after
        their executions, with the rules that may act at any moment: the evidence rule and the triggers.

        Args:
            handle_signals: stop on SIGTERM and SIGINT too, after the checks under way (in the main thread only).
        """
        with self._stopping_on_signals() if handle_signals else contextlib.nullcontext():
            try:
                if not self._stopped.is_set():
                    await self._run_until_stopped(list(self.stages))
            finally:
                self._stopped.clear()  # so that it can run again; a stop before the start still counts

    def stop(self) -> None:
        """End `run` after the checks under way. Call it in the event loop's own thread."""
        self._stopped.set()

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _run_until_stopped(self, stages: Sequence[Stage]) -> None:
        due = [asyncio.Event() for _stage in stages]
        residents = [stage for stage in stages if isinstance(stage, ResidentStage)]
        with ThreadPoolExecutor(max_workers=max(1, len(stages)), thread_name_prefix="rollguard-loop") as threads:
            for stage in residents:
                await self._run_once(stage, threads, starting=True)
            running = [asyncio.create_task(self._keep(number, stages, due, threads)) for number in range(len(stages))]
            try:
                await self._stopped.wait()
            finally:
                self._stopped.set()
                for event in due:
                    event.set()
                for stage in residents:
                    stage.interrupt()
                await asyncio.gather(*running)
                for stage in residents:
                    await self._close(stage, threads)

    async def _keep(
        self, number: int, stages: Sequence[Stage], due: Sequence[asyncio.Event], threads: ThreadPoolExecutor
    ) -> None:
        """Repeat a stage, also after an error that is not the stage's run: of its attributes, or of the machine."""
        while not self._stopped.is_set():
            try:
                await self._repeat(number, stages, due, threads)
            except (asyncio.CancelledError, *EXITS):
                raise
            except BaseException as error:  # noqa: BLE001 - nothing but a stop ends a stage
                self.stats["errors"] += 1
                logger.error("the schedule of a stage failed, and starts again soon: %s", described(error))
                await self._pause(due[number], _RETRY_SECONDS)

    async def _repeat(
        self, number: int, stages: Sequence[Stage], due: Sequence[asyncio.Event], threads: ThreadPoolExecutor
    ) -> None:
        stage, clock = stages[number], asyncio.get_running_loop().time
        interval = self._interval_of(stage)
        followers = [event for other, event in zip(stages, due, strict=True) if stage.name in _follows(other)]
        while not self._stopped.is_set():
            due[number].clear()
            began = clock()
            made = await self._run_once(stage, threads)
            for event in followers:
                event.set()
            rest = interval if made else max(_SHORTEST_RETRY, min(interval, _RETRY_SECONDS))
            await self._pause(due[number], rest - (clock() - began))

    async def _pause(self, due: asyncio.Event, seconds: float) -> None:
        if seconds > 0 and not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(due.wait(), timeout=seconds)

    async def _run_once(self, stage: Stage, threads: ThreadPoolExecutor, *, starting: bool = False) -> bool:
        """Run or start a stage, and return whether it did not fail."""
        loop = asyncio.get_running_loop()
        try:
            if starting and isinstance(stage, ResidentStage):
                await loop.run_in_executor(threads, outcome, stage.start)
                return True
            counts = _checked(await in_thread(stage, threads, self._stopped))
        except Exception as error:  # noqa: BLE001 - the loop goes on after any error
            self.stats["errors"] += 1
            if isinstance(error, StoreUnavailable) and not isinstance(error, StoreBusy):  # for every stage
                self._outage.met(stage.name, error, loop.time())
            else:
                logger.error("stage %s failed and runs again soon: %s", stage.name, said(error))
            return False
        self._outage.passed(stage.name, loop.time())
        _add(counts, self.stats)
        if "cycles" in counts:
            made = {name: number for name, number in counts.items() if name != "cycles"}
            logger.info("cycle %d: %s", self.stats["cycles"], made)
        elif self._interval_of(stage) and any(number for name, number in counts.items() if name != "arrival_checks"):
            logger.info("%s: %s", stage.name, counts)
        return True

    async def _close(self, stage: ResidentStage, threads: ThreadPoolExecutor) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(threads, outcome, stage.close)
        except Exception as error:  # noqa: BLE001 - the others are closed as well
            self.stats["errors"] += 1
            logger.error("stage %s could not be closed: %s", stage.name, error)

    def _counted(
        self, stage: Stage, run: Callable[[], Mapping[str, int]]
    ) -> tuple[dict[str, int], StoreUnavailable | None]:
        """Run a stage, which may be the user's code, and return its counts, and whether the store was away."""
        try:
            return _checked(traced(stage, run)), None
        except Exception as error:  # noqa: BLE001 - it stops no other
            logger.error("stage %s failed, which the next cycle runs again: %s", stage.name, said(error))
            return {"errors": 1}, error if isinstance(error, StoreUnavailable) else None

    def _interval_of(self, stage: Stage) -> float:
        given: float | None = getattr(stage, "interval_seconds", None)
        return self._interval if given is None else given

    @contextlib.contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _checked_interval(key: str, seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 86_400:
        raise InvalidSetting(key, f"{seconds!r} is not a number of seconds from 1 to 86400")
    return float(seconds)


def _checked(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of a stage, which may be the user's; raise if they are none."""
    return {str(name): int(number) for name, number in dict(counts or {}).items()}


def _follows(stage: Stage) -> frozenset[str]:
    return frozenset(getattr(stage, "follows", ()))


def _add(counts: Mapping[str, int], totals: dict[str, int]) -> None:
    for name, number in counts.items():
        totals[name] = totals.get(name, 0) + number
