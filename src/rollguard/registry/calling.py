"""A call of a tool, from its beginning to its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rollguard.record import Recorder
from rollguard.registry.serving import Served
from rollguard.registry.source import LoadedTool

FailureIn = Callable[[str, LoadedTool | None, Any], str | None]


class Call:
    """One call under way: with what it began, when, and on which version."""

    __slots__ = ("_began", "_failure_in", "_recorder", "_row", "_tool")

    def __init__(
        self, recorder: Recorder, failure_in: FailureIn, served: Served, name: str, parameters: dict[str, Any]
    ) -> None:
        self._recorder, self._failure_in, self._tool = recorder, failure_in, served.tool
        self._row = recorder.begin(
            name, parameters, executed_at=datetime.now(UTC), version_number=served.version_number
        )
        self._began = time.perf_counter()

    def returned(self, result: Any) -> None:
        """The tool returned `result`."""
        duration_ms = self._duration_ms()
        failure = self._failure_in(self._row["tool_name"], self._tool, result)
        self._recorder.end(
            self._row,
            success=failure is None,
            duration_ms=duration_ms,
            error=failure,
            error_type="ReturnedFailure" if failure else None,
            result=result,
        )

    def failed(self, error: BaseException) -> None:
        """The tool raised `error`."""
        self._recorder.end(self._row, success=False, duration_ms=self._duration_ms(), error=error)

    def _duration_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000.0


async def run_in_thread(tool: LoadedTool, parameters: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """Run a tool in a thread, so that the event loop goes on: what it returned, or what it raised."""

    def run() -> tuple[Any, BaseException | None]:
        try:
            return tool.run(parameters), None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - handed over as a value: a future takes no StopIteration
            return None, error

    return await asyncio.to_thread(run)


def needs_acall(tool_name: str) -> RuntimeError:
    """An async tool cannot be run by `call` while an event loop runs."""
    return RuntimeError(f"{tool_name} is async: use 'await registry.acall({tool_name!r}, ...)'")


def in_event_loop() -> bool:
    """Whether this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
