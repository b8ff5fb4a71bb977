"""A call of a tool, from its beginning to its record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from rollguard.record import Note, Recorder
from rollguard.registry.serving import Served
from rollguard.registry.source import LoadedTool
from rollguard.store import text_of

FailureIn = Callable[[str, LoadedTool | None, Any], str | None]


class Call:
    """One call under way: with what it began, when, and on which version."""

    __slots__ = ("_began", "_clock", "_failure_in", "_name", "_parameters", "_recorder", "_served")

    def __init__(
        self, recorder: Recorder, failure_in: FailureIn, served: Served, name: str, parameters: dict[str, Any]
    ) -> None:
        self._recorder, self._failure_in, self._served, self._name = recorder, failure_in, served, name
        # As they are now: the tool may change them.
        self._parameters = recorder.encoded(name, "parameters", parameters) if parameters else None
        self._began = time.time()
        self._clock = time.perf_counter()

    def returned(self, result: Any) -> None:
        """The tool returned `result`."""
        duration_ms = (time.perf_counter() - self._clock) * 1000.0
        failure = self._failure_in(self._name, self._served.tool, result)
        kept = None if result is None else self._recorder.encoded(self._name, "result", result)
        self._note(duration_ms, failure, None if failure is None else "ReturnedFailure", kept)

    def failed(self, error: BaseException) -> None:
        """The tool raised `error`."""
        self._note((time.perf_counter() - self._clock) * 1000.0, text_of(error), type(error).__name__, None)

    def _note(self, duration_ms: float, error: str | None, error_type: str | None, result: str | None) -> None:
        self._recorder.note(
            Note(
                self._name,
                self._served.version_number,
                self._began,
                duration_ms,
                error_type is None,
                error,
                error_type,
                self._parameters,
                result,
            )
        )


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
