"""`AutonomousLoop`: look after every deployment under watch, again and again, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rollguard.deployment_monitor import DeploymentMonitor
from rollguard.errors import InvalidSetting, StoreError

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 15.0  # after a cycle that could not even list the sessions, at the latest
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
        stats: totals since the start: cycles, checks, rollbacks_triggered, rollbacks_failed, sessions_completed and
            errors.

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
        self.stats: dict[str, int] = dict.fromkeys(("cycles", *_COUNTERS), 0)

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

        Args:
            handle_signals: stop on SIGTERM and SIGINT too, after the checks under way (in the main thread only).
        """
        with self._stopping_on_signals() if handle_signals else contextlib.nullcontext():
            while not self._stopped.is_set():
                started = asyncio.get_running_loop().time()
                pause = self._interval
                try:
                    cycle = await self.check_deployment_health(shared=True)
                    logger.info("cycle %d: %s", self.stats["cycles"], cycle)
                except Exception as error:  # noqa: BLE001 - whatever it is, the watch goes on
                    self.stats["errors"] += 1
                    pause = min(pause, _RETRY_SECONDS)
                    logger.error("the cycle could not be made and is tried again in %.0f s: %s", pause, error)
                elapsed = asyncio.get_running_loop().time() - started
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopped.wait(), timeout=max(0.0, pause - elapsed))
        await self._let_go()
        self._stopped.clear()  # so that it can run again; a stop before the start is kept

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
