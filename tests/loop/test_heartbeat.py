"""A running loop shows that it lives; others report it when it does not, and a serving process that there is none."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rollguard import AutonomousLoop
from rollguard.loop.stages import HealthStage, HeartbeatStage
from rollguard.model.execution import FIELDS
from rollguard.model.watcher import WatcherState
from rollguard.record import Recorder, Spool
from rollguard.record.unwatched import Unwatched
from rollguard.store.schema import watchers as w
from tests.conftest import NOW, Guard


async def test_a_running_loop_has_a_row_and_a_stopped_one_none(guard: Guard) -> None:
    """While the loop runs, its row says since when and when it last finished a cycle; a clean stop removes it."""
    loop = AutonomousLoop(guard.monitor)
    running = asyncio.create_task(loop.run(handle_signals=False))
    async with asyncio.timeout(60):
        while not any(one.checked_at for one in await asyncio.to_thread(guard.store.watchers.all)):
            await asyncio.sleep(0.005)
        (one,) = guard.store.watchers.all()
        loop.stop()
        await running
    assert (one.state, one.interval_seconds) == (WatcherState.WATCHING, 300.0)
    assert guard.store.watchers.all() == []


async def test_a_single_cycle_leaves_no_row(guard: Guard) -> None:
    """A cycle in a cron job is no watcher."""
    await AutonomousLoop(guard.monitor).check_deployment_health(now=NOW)
    assert guard.store.watchers.all() == []


def _stages(guard: Guard) -> tuple[HealthStage, HeartbeatStage]:
    health = HealthStage(guard.monitor)
    return health, HeartbeatStage(guard.store, health, 300.0)


def _age(guard: Guard, **columns: object) -> None:
    with guard.store.database.write() as connection:
        connection.execute(sa.update(w).values(**columns))


@pytest.mark.parametrize(
    ("column", "kind", "says"),
    [("seen_at", "watcher_silent", "latest sign of life was 12"), ("started_at", "watcher_behind", "3300 s late")],
)
def test_a_watcher_reports_another_once(guard: Guard, column: str, kind: str, says: str) -> None:
    """A watcher that sees another one silent, or without a cycle for too long, notifies people once of it."""
    _, dead = _stages(guard)
    dead.start()
    as_of = guard.store.watchers.all()[0].as_of
    _age(guard, **{column: as_of - timedelta(seconds=120 if column == "seen_at" else 3600)})
    _, living = _stages(guard)
    living.start()
    for _ in range(2):
        living.run(None)
    (pending,) = guard.store.outbox.take_due(as_of + timedelta(minutes=1))
    event = pending.event
    assert (event["kind"], event["level"], event["tool_name"]) == (kind, "warning", "")
    assert says in event["reasons"][0]
    assert event["reasons"][1] == "other watchers that check the sessions: 1"


def test_a_cycle_that_hangs_is_seen_by_its_own_heartbeat(guard: Guard) -> None:
    """If no cycle ends, the only watcher reports itself, since its heartbeat has a thread of its own."""
    health, heartbeat = _stages(guard)
    heartbeat.start()
    as_of = guard.store.watchers.all()[0].as_of
    _age(guard, started_at=as_of - timedelta(hours=1))
    heartbeat.run(None)
    assert guard.store.outbox.undelivered() == 1
    health.run(NOW)
    heartbeat.run(None)
    assert [one.state for one in guard.store.watchers.all()] == [WatcherState.WATCHING]


def test_a_restored_database_has_the_watcher_again(guard: Guard) -> None:
    """A row that is gone, as after a backup was restored, is there at the next sign of life, with its beginning."""
    _, heartbeat = _stages(guard)
    heartbeat.start()
    (before,) = guard.store.watchers.all()
    guard.store.watchers.leave(before.watcher_id)
    heartbeat.run(None)
    assert [one.started_at for one in guard.store.watchers.all()] == [before.started_at]


class Clock:
    """A clock that stands until a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_serving_process_says_that_nobody_watches(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """With active sessions and no watcher it is logged once in an interval, and not while one runs."""
    guard.deploy(1)
    guard.watch()
    clock = Clock()
    unwatched = Unwatched(guard.store, every=300.0, clock=clock)
    said = []
    for seconds in (0, 299, 300, 301, 599, 601):
        clock.now = seconds
        unwatched.check()
        said.append(caplog.text.count("nobody watches 1 monitored deployments"))
    assert said == [0, 0, 1, 1, 1, 2]
    _, heartbeat = _stages(guard)
    heartbeat.start()
    clock.now = 1_000
    unwatched.check()
    assert caplog.text.count("nobody watches") == 2


class Asked(Unwatched):
    """It reports that it was asked."""

    def __init__(self) -> None:
        self.asked, self.by = threading.Event(), ""

    def resume(self) -> None:
        """There is no clock."""

    def check(self) -> None:
        self.by = threading.current_thread().name
        self.asked.set()


@pytest.mark.parametrize("durable", [False, True])
def test_a_recorder_asks_whether_anybody_watches(guard: Guard, durable: bool) -> None:
    """A process that records executions asks in the recorder's thread; if they are written through, in the caller's."""
    asked = Asked()
    spool = Spool(guard.registry.folder.path / "s.jsonl")
    recorder = Recorder(guard.store, spool, durable=durable, flush_interval=0.001, unwatched=asked)
    noted = {"tool_name": "my_tool", "success": True, "executed_at": NOW.timestamp()}
    recorder.note(tuple(noted.get(field) for field in FIELDS))
    assert asked.asked.wait(30)
    assert (asked.by == "rollguard-recorder") is not durable
    recorder.finish()
