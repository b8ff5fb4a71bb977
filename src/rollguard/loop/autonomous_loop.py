"""`AutonomousLoop`: look after every deployment under watch, again and again, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import InvalidSetting, StoreError
from rollguard.monitor.deployment_monitor import DeploymentMonitor
from rollguard.store.database.change_feed import Arrivals

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 15.0  # after a cycle that could not even list the sessions, at the latest
_LISTEN_SECONDS = 60.0
_SHORTEST_REST = 0.05  # between two looks at what arrives
_REST_AFTER_ERROR = 1.0  # after a look that could not be made
_LEASE = 1.5  # intervals that a watcher keeps a session for: it takes it again in time, even after a long cycle
_COUNTERS = ("checks", "rollbacks_triggered", "rollbacks_failed", "sessions_completed", "errors")


class AutonomousLoop:
    """The health part of the autonomous loop.

    Use `await loop.run()` to watch until stopped, or `await loop.check_deployment_health()` inside a loop of your own.
    Checks run in threads, so the event loop stays free.

    Args:
        deployment_monitor: makes the checks and the rollbacks.
        check_interval_seconds: time between the starts of two cycles (1 to 86400).

    Attributes:
        stats: totals since the start: cycles, checks, rollbacks_triggered, rollbacks_failed, sessions_completed,
            errors, and looks: how often a session was looked at between two cycles because executions arrived.

    Raises:
        InvalidSetting: the interval is out of its range.
    """

    def __init__(
        self,
        deployment_monitor: DeploymentMonitor,
        *,
        check_interval_seconds: float = 300.0,
    ) -> None:
        interval = check_interval_seconds
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 1 <= interval <= 86_400:
            raise InvalidSetting("check_interval_seconds", f"{interval!r} is not a number of seconds from 1 to 86400")
        self._monitor = deployment_monitor
        self._interval = float(interval)
        self._stopped = asyncio.Event()
        self._turn = asyncio.Lock()  # cycles and looks do not overlap
        self.stats: dict[str, int] = dict.fromkeys(("cycles", *_COUNTERS, "looks"), 0)

    async def check_deployment_health(self, *, now: datetime | None = None, shared: bool = False) -> dict[str, int]:
        """One cycle: finish what a crash left, check every active session and roll back what needs it, then tidy up.

        Rollbacks of earlier cycles are verified too: whether the restored version recovered.

        One session's failure is recorded and never stops another's check. Executions that could not be removed are
        an error of the cycle, and removed by a later one.

        Args:
            shared: leave sessions alone that another watcher looks after. One that dies is taken over from after one
                and a half intervals, by whoever has its next cycle then.

        Returns:
            This cycle's checks, rollbacks_triggered, rollbacks_failed, sessions_completed and errors.

        Raises:
            StoreUnavailable: the database cannot be reached, so that not even the sessions are known.
        """
        cycle = dict.fromkeys(_COUNTERS, 0)
        self.stats["cycles"] += 1
        await asyncio.to_thread(self._monitor.recover, now=now)
        lease = timedelta(seconds=_LEASE * self._interval) if shared else None
        for result in await asyncio.to_thread(self._monitor.look_after_all, now=now, lease=lease):
            _count(result, cycle)
        for afterwards, failed in (
            (self._monitor.follow_up, "rollbacks could not be verified"),
            (self._monitor.tidy, "old executions could not be removed"),
        ):
            try:
                await asyncio.to_thread(afterwards, now=now)
            except StoreError as error:
                cycle["errors"] += 1
                logger.error("%s, which is tried again: %s", failed, error)
        for name, count in cycle.items():
            self.stats[name] += count
        return cycle

    _check_deployment_health = check_deployment_health  # the name it has in the contract

    async def run(self, *, handle_signals: bool = True) -> None:
        """Check now and then every interval, until `stop` is called.

        Between two cycles tools that were just executed are looked at, by what may act at any moment: the evidence
        rule and the triggers. The cycles find what these looks might miss.

        Args:
            handle_signals: stop on SIGTERM and SIGINT too, after the checks under way (in the main thread only).
        """
        arrivals = self._monitor.store.arrivals()
        looking = None
        try:
            with self._stopping_on_signals() if handle_signals else contextlib.nullcontext():
                if not self._stopped.is_set():
                    await self._wait_for_arrivals(arrivals, 0.0)  # from here on none is missed
                    looking = asyncio.create_task(self._look_when_they_arrive(arrivals))
                while not self._stopped.is_set():
                    started = asyncio.get_running_loop().time()
                    pause = self._interval
                    try:
                        async with self._turn:
                            cycle = await self.check_deployment_health(shared=True)
                        logger.info("cycle %d: %s", self.stats["cycles"], cycle)
                    except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
                        self.stats["errors"] += 1
                        pause = min(pause, _RETRY_SECONDS)
                        logger.error("the cycle could not be made and is tried again in %.0f s: %s", pause, error)
                    elapsed = asyncio.get_running_loop().time() - started
                    await self._rest(max(0.0, pause - elapsed))
        finally:
            arrivals.interrupt()
            self._stopped.set()
            if looking is not None:
                await looking
            arrivals.close()
            await self._let_go()
            self._stopped.clear()  # so that it can run again; a stop before the start is kept

    async def _look_when_they_arrive(self, arrivals: Arrivals) -> None:
        while not self._stopped.is_set():
            tools = await self._wait_for_arrivals(arrivals, _LISTEN_SECONDS)
            if not tools:
                continue
            counted, rest = dict.fromkeys(_COUNTERS, 0), _REST_AFTER_ERROR
            try:
                async with self._turn:
                    results, rest = await asyncio.to_thread(self._look, tools)
                for result in results:
                    _count(result, counted)
                counted["looks"] = counted.pop("checks")
            except Exception as error:  # noqa: BLE001 - the next cycle looks at the same executions
                counted = {"errors": 1}
                logger.error("what arrived could not be looked at, which the next cycle does: %s", error)
            for name, count in counted.items():
                self.stats[name] += count
            await self._rest(rest)

    def _look(self, tools: set[str]) -> tuple[list[dict[str, Any] | Exception], float]:
        """Look at the tools; what was found, and how long to rest after it.

        Looks never take more than a fifth of a processor, nor more than half of the time. What others of the machine
        take, and what a lock is waited for, is no work of ours: after that a bad version is not to wait longer still.
        """
        began, worked = time.monotonic(), time.thread_time()
        results = self._monitor.look_after(tools)
        return results, max(_SHORTEST_REST, time.monotonic() - began, 4 * (time.thread_time() - worked))

    async def _wait_for_arrivals(self, arrivals: Arrivals, seconds: float) -> set[str]:
        try:
            return await asyncio.to_thread(arrivals.wait, seconds)
        except Exception as error:  # noqa: BLE001 - the cycles go on without
            self.stats["errors"] += 1
            logger.error("new executions are not listened to for %.0f s: %s", _RETRY_SECONDS, error)
            await self._rest(_RETRY_SECONDS if seconds else 0.0)
            return set()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), timeout=seconds)

    async def _let_go(self) -> None:
        try:
            await asyncio.to_thread(self._monitor.let_go)
        except StoreError as error:
            logger.warning("other watchers take the sessions over only when their lease is over: %s", error)

    def stop(self) -> None:
        """End `run` after the checks under way. Call it in the event loop's own thread."""
        self._stopped.set()

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


def _count(result: dict[str, Any] | Exception, cycle: dict[str, int]) -> None:
    if isinstance(result, Exception):
        cycle["errors"] += 1
        return
    cycle["checks"] += 1
    if result["rollback_performed"]:
        cycle["rollbacks_triggered"] += 1
        logger.warning("AUTO-ROLLBACK: %s: %s", result["tool_name"], result["reason"])
    elif result["needs_rollback"] and not result["rollback_result"]["refused"]:
        cycle["rollbacks_failed"] += 1
        logger.error("%s needs a rollback that could not be made: %s", result["tool_name"], result["reason"])
    if result["session_status"] == "completed":
        cycle["sessions_completed"] += 1
