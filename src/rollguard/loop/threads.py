"""Run a stage in a thread, whatever it raises."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from rollguard.errors import RollguardError
from rollguard.loop.stages import Stage
from rollguard.model.log import described
from rollguard.model.own_spans import span


class Died(Exception):
    """A stage raised what is no `Exception`, which would end the thread that runs it, and with it the loop."""


def outcome(work: Callable[[], Any]) -> Any:
    """Run a stage's method in its thread. An exit is asked of a process by its main thread, never by this one."""
    try:
        return work()
    except Exception:
        raise
    except BaseException as error:
        raise Died(described(error)) from error


def _report(run: Callable[[], Any], loop: asyncio.AbstractEventLoop, ended: asyncio.Future[Any]) -> None:
    """Run in a thread, and report how it ended to the event loop, if that still runs."""
    try:
        result = run()
        report = partial(_settle, ended, ended.set_result, result)
    except Exception as error:  # noqa: BLE001 - the event loop raises it
        report = partial(_settle, ended, ended.set_exception, error)
    with contextlib.suppress(RuntimeError):  # the loop has stopped without waiting
        loop.call_soon_threadsafe(report)


def _settle(ended: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not ended.done():
        settle(value)


def said(error: Exception) -> str:
    return str(error) if isinstance(error, RollguardError | Died) else described(error)


def traced(stage: Stage, run: Callable[[], Any]) -> Any:
    """Run a stage in this thread and return its counts."""
    with span("stage", stage=stage.name) as note:
        counts = outcome(run)
        if isinstance(counts, Mapping):
            note(**{f"count.{name}": number for name, number in counts.items() if number})
        return counts


async def in_thread(stage: Stage, threads: ThreadPoolExecutor, stop: asyncio.Event) -> Any:
    """Run a stage and return its counts. A stop does not wait for one beside monitoring."""
    loop, run = asyncio.get_running_loop(), partial(traced, stage, partial(stage.run, None))
    if not getattr(stage, "beside_monitoring", False):
        return await loop.run_in_executor(threads, run)
    ended: asyncio.Future[Any] = loop.create_future()
    threading.Thread(target=_report, args=(run, loop, ended), name=f"rollguard-{stage.name}", daemon=True).start()
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    return ended.result() if ended.done() else {}
