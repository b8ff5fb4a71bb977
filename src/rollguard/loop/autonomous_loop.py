"""`AutonomousLoop`: run the stages, each on its own schedule, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from rollguard.errors import InvalidSetting, RollguardError, StoreUnavailable
from rollguard.loop.stages import ResidentStage, Stage, default_stages
from rollguard.loop.stages.health import COUNTERS
from rollguard.model.given import checked_all
from rollguard.model.log import EXITS, described, logger_of
from rollguard.monitor.deployment_monitor import DeploymentMonitor

logger = logger_of(__name__)

_SHORTEST_RETRY, _RETRY_SECONDS = 0.1, 15.0  # after a stage that failed


class AutonomousLoop:
    """The health part of the autonomous loop: a list of stages.

    Use `await loop.run()` to monitor until stopped, or `await loop.check_deployment_health()` in a loop of your own.
    Stages run in threads, so the event loop stays free.

    Args:
        deployment_monitor: makes the checks and the rollbacks.
        check_interval_seconds: time between the starts of two checks of a session (1 to 86400).
        stages: what to run; by default `rollguard.loop.stages.default_stages`.

    Attributes:
        stages: the list that runs; add, replace or remove stages before you call `run`.
        stats: totals since the start: cycles, checks, rollbacks_triggered, rollbacks_failed, sessions_completed,
            errors, looks (checks of sessions between two cycles because executions arrived), and the counts of your
            own stages.

    Raises:
        InvalidSetting: the interval is out of its range.
    """

    def __init__(
        self,
        deployment_monitor: DeploymentMonitor,
        *,
        check_interval_seconds: float = 300.0,
        stages: Sequence[Stage] | None = None,
    ) -> None:
        interval = check_interval_seconds
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 1 <= interval <= 86_400:
            raise InvalidSetting("check_interval_seconds", f"{interval!r} is not a number of seconds from 1 to 86400")
        self._interval = float(interval)
        if stages is None:
            stages = default_stages(deployment_monitor, self._interval)
        self.stages = checked_all("stages", stages, "name", "run")
        self._stopped = asyncio.Event()
        self.stats: dict[str, int] = dict.fromkeys(("cycles", *COUNTERS, "arrival_checks"), 0)

    async def check_deployment_health(self, *, now: datetime | None = None) -> dict[str, int]:
        """Run one cycle: each stage once, in the order of the list.

        By default a cycle finishes interrupted rollbacks, checks every active session, rolls back if needed, verifies
        earlier rollbacks, delivers notifications and removes old executions. A stage that fails is logged and counted
        as an error; it stops no other, and runs again in the next cycle.

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
            if self._interval_of(stage) == 0:
                continue
            try:
                counts = _checked(await asyncio.to_thread(_outcome, partial(stage.run, now)))
            except Exception as error:  # noqa: BLE001 - a stage may be the user's code; it stops no other
                logger.error("stage %s failed, which the next cycle runs again: %s", stage.name, _said(error))
                counts = {"errors": 1}
                if stage.name == "health" and isinstance(error, StoreUnavailable):
                    away = error
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
                await loop.run_in_executor(threads, _outcome, stage.start)
                return True
            counts = _checked(await loop.run_in_executor(threads, _outcome, partial(stage.run, None)))
        except Exception as error:  # noqa: BLE001 - the loop goes on after any error
            self.stats["errors"] += 1
            logger.error("stage %s failed and runs again soon: %s", stage.name, _said(error))
            return False
        _add(counts, self.stats)
        if "cycles" in counts:
            made = {name: number for name, number in counts.items() if name != "cycles"}
            logger.info("cycle %d: %s", self.stats["cycles"], made)
        elif counts and self._interval_of(stage):
            logger.info("%s: %s", stage.name, counts)
        return True

    async def _close(self, stage: ResidentStage, threads: ThreadPoolExecutor) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(threads, _outcome, stage.close)
        except Exception as error:  # noqa: BLE001 - the others are closed as well
            self.stats["errors"] += 1
            logger.error("stage %s could not be closed: %s", stage.name, error)

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


class _Died(Exception):
    """A stage raised what is no `Exception`, which would end the thread that runs it, and with it the loop."""


def _outcome(work: Callable[[], Any]) -> Any:
    """Run a stage's method in its thread. An exit is asked of a process by its main thread, never by this one."""
    try:
        return work()
    except Exception:
        raise
    except BaseException as error:
        raise _Died(described(error)) from error


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, RollguardError | _Died) else described(error)


def _checked(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of a stage, which may be the user's; raise if they are none."""
    return {str(name): int(number) for name, number in dict(counts or {}).items()}


def _follows(stage: Stage) -> frozenset[str]:
    return frozenset(getattr(stage, "follows", ()))


def _add(counts: Mapping[str, int], totals: dict[str, int]) -> None:
    for name, number in counts.items():
        totals[name] = totals.get(name, 0) + number
