"""Processes that stand still and go on late: what others decided holds, and nobody waits for them for ever."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import DeploymentConflict, RollbackRefused, StoreBusy, StoreUnavailable
from rollguard.registry.deploy.actuators import Request
from rollguard.store import Intention
from rollguard.store.database import engine
from rollguard.store.schema import deployment_rollbacks, tool_actuations
from tests.conftest import NOW, Guard, code
from tests.monitor.helpers import LATER, Place, regressed
from tests.postgres import PostgresServer
from tests.watching import recover

SOON = LATER + timedelta(minutes=1)  # when a lease that was taken at LATER is over


@pytest.fixture
def place() -> Place:
    """A place that carries out whatever it is told, also what is out of date."""
    made = Place()
    made.heedless = True
    return made


@pytest.fixture
def away(guard: Guard, place: Place) -> Guard:
    """The story's system, where the tool lives elsewhere."""
    registry = ToolRegistry(guard.registry.folder.path, store=guard.store, actuators={"my_tool": place})
    monitor = DeploymentMonitor(execution_store=guard.store, tool_registry=registry, notifiers=[])
    return Guard(guard.store, registry, monitor)


@pytest.fixture
def other(guard: Guard, place: Place) -> Guard:
    """Another process's view of the same."""
    registry = ToolRegistry(guard.registry.folder.path, store=guard.store, actuators={"my_tool": place})
    monitor = DeploymentMonitor(execution_store=guard.store, tool_registry=registry, notifiers=[])
    return Guard(guard.store, registry, monitor)


def live(guard: Guard) -> int | None:
    deployment = guard.store.versions.live("my_tool")
    return None if deployment is None else deployment.version_number


def expire(guard: Guard) -> None:
    """As much time goes by as the lease of the call under way lasts."""
    with guard.store.database.write() as connection:
        connection.execute(sa.update(tool_actuations).values(held_until=NOW))


def test_a_late_rollback_does_not_undo_what_a_person_deployed(away: Guard, other: Guard, place: Place) -> None:
    """An request that lands after others took over, and a person deployed, is noticed: what is live is put back."""
    session_id = regressed(away)

    def meanwhile() -> None:
        recover(other.monitor, now=SOON)
        other.registry.deploy("my_tool", code(3), deployed_at=SOON)

    place.before = meanwhile
    away.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert (live(away), place.runs) == (3, code(1))
    assert [unsettled.tool_name for unsettled in away.store.actuations.unsettled()] == ["my_tool"]
    recover(other.monitor, now=SOON)
    assert (live(away), place.runs) == (3, code(3))
    assert away.store.actuations.unsettled() == []


def test_a_late_order_during_a_deployment_is_not_believed_to_be_before_it(
    away: Guard, other: Guard, place: Place
) -> None:
    """Where the late request may have come after that of a deployment under way, the deployment is not believed."""
    session_id = regressed(away)
    place.before = lambda: place_deploys(other, place)

    def place_deploys(who: Guard, where: Place) -> None:
        expire(who)
        where.after = lambda: who.store.actuations.release("my_tool", sequence=3, now=LATER)  # the late end of a call
        with pytest.raises(DeploymentConflict, match="took so long"):
            who.registry.deploy("my_tool", code(3), deployed_at=LATER)

    away.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    for _ in range(3):
        recover(other.monitor, now=SOON)
    assert place.runs == other.store.versions.get("my_tool", live(other) or 0).code.decode()
    assert away.store.actuations.unsettled() == []


def test_a_late_deployment_is_refused(away: Guard, other: Guard, place: Place) -> None:
    """Of two deployments the one that stood still is refused, though the outside obeyed it; the other is put back."""
    away.deploy(1)

    def meanwhile() -> None:
        expire(other)
        other.registry.deploy("my_tool", code(3))

    place.before = meanwhile
    with pytest.raises(DeploymentConflict, match="took so long"):
        away.registry.deploy("my_tool", code(2))
    assert place.runs == code(2)
    recover(other.monitor, now=datetime.now(UTC))
    assert place.runs == other.store.versions.get("my_tool", live(other) or 0).code.decode() == code(3)


def test_a_late_question_is_asked_again(away: Guard, other: Guard, place: Place) -> None:
    """A process that asks for what was live, and goes on when another version is, does not leave the old one there."""
    away.deploy(1)
    place.down = "away"
    with pytest.raises(Exception, match="away"):
        away.deploy(2)
    place.down = None

    def meanwhile() -> None:
        expire(other)
        other.registry.deploy("my_tool", code(3))

    place.before = meanwhile
    recover(away.monitor, now=LATER)
    assert place.runs == code(1)
    recover(away.monitor, now=LATER)
    assert (live(away), place.runs) == (3, code(3))


def test_what_a_late_process_says_of_its_call_is_out_of_date(away: Guard) -> None:
    """Neither an acknowledgement nor a failure changes a rollback that another process has taken over."""
    session_id = regressed(away)
    intention = Intention("my_tool", session_id, 2, None, "50 points", "threshold", "rollguard")
    store = away.store.rollbacks
    claimed = store.claim(
        intention, event_if_held=lambda _r: {}, now=LATER, actuator_of=lambda _name: "command"
    ).rollback_id
    _, first = store.attempt(claimed, holder="slow", until=LATER, now=LATER)
    _, second = store.attempt(claimed, holder="other", until=SOON, now=LATER)
    with pytest.raises(RollbackRefused, match="took so long"):
        store.restored(claimed, sequence=first, output=None, now=LATER)
    with pytest.raises(RollbackRefused, match="took so long"):
        store.postpone(claimed, sequence=first, error="x", output=None, next_attempt_at=SOON, event=None, now=LATER)
    assert store.restored(claimed, sequence=second, output=None, now=LATER).state == "restored"


class Slow:
    """An actuator whose first call takes as long as its lease."""

    kind, patience = "command", 0.3

    def __init__(self, store: ExecutionStore) -> None:
        self._store = store
        self.leases: list[datetime] = []
        """Until when each request's lease is in force."""
        self.ended: list[datetime] = []

    def put(self, request: Request) -> str | None:
        """Wait, the first time, until the lease of the request is over."""
        lease = sa.select(tool_actuations.c.held_until).where(tool_actuations.c.tool_name == request.version.tool_name)
        with self._store.database.read() as connection:
            self.leases.append(connection.execute(lease).scalar_one())
        while len(self.leases) == 1 and datetime.now(UTC) < self.leases[0]:
            threading.Event().wait(0.01)
        self.ended.append(datetime.now(UTC))
        return None


def test_a_lease_begins_with_its_call(store: ExecutionStore, tools_dir: Path) -> None:
    """In a cycle that carries out several rollbacks each call has its whole lease, however long others took."""
    slow = Slow(store)
    registry = ToolRegistry(tools_dir, store=store, actuators={"a": slow, "b": slow})
    monitor = DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[])
    for tool in ("a", "b"):
        for version in (1, 2):
            registry.note_deployment(tool, code(version, tool))
        intention = Intention(tool, None, 2, 1, "by hand", "manual", "ada")
        store.rollbacks.claim(
            intention, event_if_held=lambda _r: {}, now=datetime.now(UTC), actuator_of=lambda _name: "command"
        )
    began, patience = datetime.now(UTC), timedelta(seconds=Slow.patience)
    assert len(recover(monitor)) == 2
    first, second = slow.leases
    assert first >= began + patience
    assert second >= slow.ended[0] + patience


def test_a_rollback_that_cannot_be_carried_out_does_not_stop_the_others(guard: Guard) -> None:
    """A claim whose version somebody removed from the books is its own error; the other tools are looked after."""
    for tool in ("broken", "my_tool"):
        for version in (1, 2):
            guard.deploy(version, tool=tool)
        intention = Intention(tool, None, 2, 1, "by hand", "manual", "ada")
        guard.store.rollbacks.claim(intention, event_if_held=lambda _r: {}, now=NOW)
    r = deployment_rollbacks
    with guard.store.database.write() as connection:
        connection.execute(sa.update(r).where(r.c.tool_name == "broken").values(to_version=99))
    assert [ended.tool_name for ended in recover(guard.monitor, now=NOW)] == ["my_tool"]
    assert [still.tool_name for still in guard.store.rollbacks.open()] == ["broken"]


def test_nobody_waits_for_a_tools_lock_for_ever(postgres: PostgresServer, tmp_path: Path) -> None:
    """Where another process holds a tool's lock, the busy timeout ends the wait, and other tools are not held up."""
    url = postgres.new_database()
    with ExecutionStore(url) as theirs, ExecutionStore(url, busy_timeout=0.1) as ours:
        registry = ToolRegistry(tmp_path, store=ours)
        with theirs.versions.held("my_tool"):
            with pytest.raises(StoreBusy, match="locked by another process"):
                registry.deploy("my_tool", code(1))
            assert registry.deploy("other", code(1, "other")) == 1
        assert registry.deploy("my_tool", code(1)) == 1


def test_a_process_that_stands_still_loses_a_tools_lock(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL undoes what a process had begun that stands still in a transaction, and the others go on."""
    url = postgres.new_database()
    with ExecutionStore(url) as stopped, ExecutionStore(url, busy_timeout=300) as ours:
        registry = ToolRegistry(tmp_path, store=ours)
        standing = stopped.versions.held("my_tool")
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_IDLE_LIMIT", 1)  # for the other one only: a busy machine makes us stand still too
            standing.__enter__()
        assert registry.deploy("my_tool", code(1)) == 1
        with pytest.raises(StoreUnavailable, match="suspended for too long"):
            standing.__exit__(None, None, None)
