"""No thread dies quietly: the recorder's, the follower's and the loop's go on after any error, or start again."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rollguard import AutonomousLoop, ExecutionStore, ToolRegistry
from rollguard.errors import StoreBusy, StoreUnavailable
from rollguard.loop.outage import Outage
from rollguard.loop.stages import ArrivalsStage
from rollguard.record import Recorder, Spool
from tests.conftest import Guard, code


class Strange(BaseException):
    """What no `except Exception` catches, and what is no exit."""


KINDS = [Strange, MemoryError, SystemExit, KeyboardInterrupt]


class Dying:
    """A stage whose first run ends in the worst way."""

    name = "dying"
    interval_seconds = 0.01

    def __init__(self, kind: type[BaseException] | None) -> None:
        self.kind, self.runs = kind, 0

    def run(self, now: datetime | None) -> Any:
        self.runs += 1
        if self.runs > 1:
            return {"recovered": 1}
        if self.kind is None:
            return ["no counts"]
        raise self.kind


class Unscheduled(Dying):
    """A stage that cannot say when it runs, at first."""

    asked = 0

    @property
    def interval_seconds(self) -> float:  # type: ignore[override]
        self.asked += 1
        if self.asked == 1:
            raise Strange
        return 0.01


class Often(Dying):
    """A stage that checks in each run, and does something in the third."""

    name = "often"

    def run(self, now: datetime | None) -> dict[str, int]:
        self.runs += 1
        return {"arrival_checks": 1, "recovered": int(self.runs == 3)}


async def _recovers(guard: Guard, stage: Any) -> AutonomousLoop:
    loop = AutonomousLoop(guard.monitor, stages=[stage])
    running = asyncio.create_task(loop.run(handle_signals=False))
    async with asyncio.timeout(60):
        while not loop.stats.get("recovered"):
            await asyncio.sleep(0.001)
        loop.stop()
        await running
    return loop


@pytest.mark.parametrize("kind", [*KINDS, None])
async def test_a_stage_runs_again_whatever_it_raised(
    guard: Guard, kind: type[BaseException] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """An exit, exhausted memory, or counts that are none: an error of the stage's run, and not the end of its runs."""
    loop = await _recovers(guard, Dying(kind))
    assert loop.stats["errors"] == 1
    assert "stage dying failed" in caplog.text


async def test_a_stage_whose_schedule_fails_starts_again(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error outside of a stage's run is counted, and its schedule begins again."""
    monkeypatch.setattr("rollguard.loop.autonomous_loop._RETRY_SECONDS", 0.01)
    stage = Unscheduled(None)
    stage.runs = 1
    assert (await _recovers(guard, stage)).stats["errors"] == 1


async def test_runs_that_only_checked_are_not_logged(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """A stage that runs every two seconds logs a line when something came of it, and not each time."""
    with caplog.at_level("INFO", logger="rollguard"):
        await _recovers(guard, Often(None))
    assert caplog.text.count("often: ") == 1


class Awaited(Spool):
    """A spool that fails once when the recorder's thread asks it, and reports the next time."""

    def __init__(self, path: Path, kind: type[BaseException]) -> None:
        super().__init__(path)
        self.kind, self.asked, self.goes_on = kind, 0, threading.Event()

    @property
    def pending(self) -> bool:
        if threading.current_thread().name == "rollguard-recorder":
            self.asked += 1
            if self.asked == 1:
                raise self.kind
            self.goes_on.set()
        return super().pending


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_recorders_thread_goes_on(
    tmp_path: Path, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """After any error of its own the thread stores executions again; if an exit ends it, another one starts."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        spool = Awaited(tmp_path / "spool.jsonl", kind)
        recorder = Recorder(store, spool, flush_interval=0.001)
        recorder._wake()
        assert spool.goes_on.wait(30)
        recorder.finish()
    assert "tried again" in caplog.text or "another one starts" in caplog.text


class Moved:
    """What tells the follower of deployments: it fails once, and reports the next time."""

    def __init__(self, kind: type[BaseException], goes_on: threading.Event) -> None:
        self.kind: type[BaseException] | None = kind
        self.goes_on, self.over = goes_on, threading.Event()

    def wait(self, timeout: float) -> bool:
        if self.kind is not None:
            kind, self.kind = self.kind, None
            raise kind
        self.goes_on.set()
        return self.over.wait(timeout)

    def interrupt(self) -> None:
        self.over.set()

    def close(self) -> None:
        """It holds nothing."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_follower_goes_on(tmp_path: Path, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """After any error of its own the follower follows; if an exit ends it, the next call starts another one."""
    monkeypatch.setattr("rollguard.registry.deploy.replica._FIRST_RETRY", 0.001)
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        registry = ToolRegistry(tmp_path / "tools", store=store, check_every=0)
        registry.deploy("my_tool", code(1))
        goes_on = threading.Event()
        moved = Moved(kind, goes_on)
        monkeypatch.setattr(store.pointers, "moves", lambda: moved)
        registry.call("my_tool")
        run = registry._replica._run if registry._replica else None
        if run is not None and run.thread is not None and issubclass(kind, SystemExit | KeyboardInterrupt):
            run.thread.join(30)
            registry.call("my_tool")
        assert goes_on.wait(30)
        registry.close()


class Late:
    """Arrivals of a database that is away when the loop starts."""

    def __init__(self) -> None:
        self.found = [set[str](), {"my_tool"}]

    def wait(self, timeout: float) -> set[str]:
        return self.found.pop(0)

    def interrupt(self) -> None:
        """It never waits."""

    def close(self) -> None:
        """It holds nothing."""


def test_arrivals_are_heard_although_the_start_failed(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the database is away at the start, the stage begins to listen at its next run, instead of running empty."""
    answers: list[Any] = [StoreUnavailable("away"), Late()]

    def arrivals() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(guard.store, "arrivals", arrivals)
    stage = ArrivalsStage(guard.monitor)
    with pytest.raises(StoreUnavailable):
        stage.start()
    assert stage.run(None)["arrival_checks"] == 0
    assert answers == []


class Full(logging.Handler):
    """A handler whose disk is full."""

    def emit(self, record: logging.LogRecord) -> None:
        raise Strange


async def test_a_log_handler_that_fails_stops_no_stage(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """What the loop cannot log goes to stderr, and its stages run on."""
    handler, logger = Full(), logging.getLogger("rollguard")
    logger.addHandler(handler)
    try:
        await _recovers(guard, Dying(ValueError))
    finally:
        logger.removeHandler(handler)
    assert "stage dying failed" in capsys.readouterr().err


def test_an_outage_is_said_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However many stages miss the database: when it begins, each minute with its length, and when it is over."""
    outage, away = Outage(), StoreUnavailable("no answer")
    for second in range(0, 150, 15):
        for stage in ("health", "arrivals"):
            outage.met(stage, away, 1_000.0 + second)
        outage.passed("a stage without the database", 1_000.0 + second)
    outage.met("health", StoreUnavailable("put it back"), 1_140.0)
    for stage in ("arrivals", "health"):
        outage.passed(stage, 1_155.0)
    outage.met("health", away, 1_160.0)
    waiting = "the database cannot be used{}, and these stages wait for it: {}: {}"
    assert [record.getMessage() for record in caplog.records] == [
        waiting.format("", "health", "no answer"),
        *(waiting.format(f" for {seconds} s now", "arrivals, health", "no answer") for seconds in (60, 120)),
        waiting.format(" for 140 s now", "arrivals, health", "put it back"),
        "the database can be used again, after 155 s",
        waiting.format("", "health", "no answer"),
    ]


@pytest.mark.parametrize(("error", "lines"), [(StoreUnavailable("no answer"), 1), (StoreBusy("it is locked"), 3)])
def test_a_loop_tells_of_an_outage_and_its_end(
    guard: Guard, caplog: pytest.LogCaptureFixture, error: StoreUnavailable, lines: int
) -> None:
    """A database that is away is said once for all stages, and when it is back; a busy one is that stage's error."""

    class Away(Dying):
        interval_seconds = 0.01

        def run(self, now: datetime | None) -> Any:
            self.runs += 1
            if self.runs <= 3:
                raise error
            events[0].call_soon_threadsafe(loop.stop)
            return {}

    async def run() -> None:
        events.append(asyncio.get_running_loop())
        await loop.run(handle_signals=False)

    events: list[asyncio.AbstractEventLoop] = []
    loop = AutonomousLoop(guard.monitor, stages=[Away(None)])
    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if str(error) in line]) == lines
    assert len([line for line in said if "the database can be used again" in line]) == (lines == 1)
    assert loop.stats["errors"] == 3
