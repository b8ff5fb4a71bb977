"""Rolling back tools that do not live in the folder: the same claim, the same journal, and a person still wins."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import ActuatorFailed, CodeQuarantined, InvalidInput, RollbackRefused
from rollguard.model.rollback import Rollback
from rollguard.store import Intention
from rollguard.store.schema import deployment_monitoring
from tests.conftest import Guard, code
from tests.monitor.helpers import LATER, Place, Told, regressed
from tests.watching import recover

MINUTE = timedelta(minutes=1)


class Died(BaseException):
    """Stands for the end of the process: nothing in Rollguard catches it."""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def registry(store: ExecutionStore, tools_dir: object, place: Place) -> ToolRegistry:
    return ToolRegistry(str(tools_dir), store=store, actuators={"my_tool": place})


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry, told: Told) -> DeploymentMonitor:
    return DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[told])


def another_process(guard: Guard, place: Place) -> DeploymentMonitor:
    """A watcher that shares nothing with the first but the database and the place."""
    registry = ToolRegistry(guard.registry.folder.path, store=guard.store, actuators={"my_tool": place})
    return DeploymentMonitor(execution_store=guard.store, tool_registry=registry, notifiers=[])


def claim(guard: Guard, session_id: int) -> Rollback:
    """A rollback that was decided by a process that then died."""
    intention = Intention("my_tool", session_id, 2, None, "50 points", "threshold", "rollguard")
    return guard.store.rollbacks.claim(
        intention, event_if_held=lambda _r: {}, now=LATER, actuator_of=lambda _name: "command"
    )


def journal(guard: Guard, session_id: int) -> Rollback:
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    return rollback


def test_a_rollback_goes_through_the_actuator(guard: Guard, place: Place, told: Told) -> None:
    """The actuator restores the version, what it said is in the journal, and the folder is left alone."""
    session_id = regressed(guard)
    assert (place.runs, place.asked) == (code(2), [("deploy", 1), ("deploy", 2)])
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert result["rollback_performed"] is True
    assert place.runs == code(1)
    rollback = journal(guard, session_id)
    assert (rollback.state, rollback.actuator, rollback.output) == ("finished", "command", "runs version 1")
    assert (rollback.restored_at, rollback.finished_at) == (LATER, LATER)
    assert guard.session(session_id).status == "rolled_back"
    assert told.kinds == ["rolled_back"]
    assert guard.registry.folder.names() == []
    assert guard.store.actuations.unsettled() == []


def test_sequence_numbers_rise(guard: Guard, place: Place) -> None:
    """Each request for a tool has a higher number than the one before, whatever it is about."""
    guard.monitor.auto_rollback_if_needed("my_tool", regressed(guard), now=LATER)
    assert [request.sequence for request in place.requests] == [1, 2, 3]
    assert len({request.key for request in place.requests}) == 3


def test_it_is_retried_until_acknowledged(guard: Guard, place: Place, told: Told) -> None:
    """Without an acknowledgement the claim stands, people are told once; the request is repeated, ever less often."""
    session_id = regressed(guard)
    place.down = "the cluster is away"
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert result["rollback_performed"] is False
    assert "the cluster is away" in result["reason"]
    assert journal(guard, session_id).output == "the end of what it said: the cluster is away"
    for minutes, requests in ((0.5, 1), (1, 2), (2, 2), (3, 3), (6, 3), (7, 4)):
        recover(guard.monitor, now=LATER + minutes * MINUTE)
        assert len(place.requests) == 2 + requests
    rollback = journal(guard, session_id)
    assert (rollback.state, rollback.attempts) == ("claimed", 4)
    assert told.kinds == ["rollback_failed"]
    assert guard.session(session_id).active
    place.down = None
    (ended,) = recover(guard.monitor, now=LATER + timedelta(hours=1))
    assert (ended.state, place.runs) == ("finished", code(1))
    assert len({request.key for request in place.requests[2:]}) == 1
    assert told.kinds == ["rollback_failed", "rolled_back"]


def test_no_transaction_is_open_during_the_call(guard: Guard, place: Place) -> None:
    """While the actuator is at work others write to the database, of the same tool as well."""
    session_id = regressed(guard)
    place.before = lambda: guard.store.versions.add(
        "my_tool", b"meanwhile", kind="edit", created_by="ada", reason=None, now=LATER
    )
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert journal(guard, session_id).state == "finished"
    assert guard.store.versions.history("my_tool")[0].created_by == "ada"


def test_one_process_calls_at_a_time(guard: Guard, place: Place) -> None:
    """While one process restores, another one finds that and leaves it to it."""
    session_id = regressed(guard)
    other = another_process(guard, place)
    place.before = lambda: recover(other, now=LATER)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert place.asked == [("deploy", 1), ("deploy", 2), ("rollback", 1)]
    assert len(guard.store.versions.deployments("my_tool")) == 3


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_during_the_call_is_taken_up(guard: Guard, place: Place, moment: str) -> None:
    """A process that dies while the outside is at work is followed by another, when its lease is over."""
    session_id = regressed(guard)

    def die() -> None:
        guard.store.actuations.release = lambda *_a, **_k: None  # type: ignore[method-assign] # it is dead
        raise Died

    setattr(place, moment, die)
    with pytest.raises(Died):
        guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    other = another_process(guard, place)
    assert recover(other, now=LATER) == []
    (ended,) = recover(other, now=LATER + MINUTE)
    assert (ended.state, place.runs) == ("finished", code(1))
    assert recover(other, now=LATER + MINUTE) == []
    assert len(guard.store.versions.deployments("my_tool")) == 3


def test_a_crash_after_the_acknowledgement_is_finished_without_asking_again(guard: Guard, place: Place) -> None:
    """What is restored outside and not in the books yet is finished by the next process, and not ordered again."""
    session_id = regressed(guard)
    rollback = claim(guard, session_id)
    _, sequence = guard.store.rollbacks.attempt(rollback.rollback_id, holder="dead", until=LATER + MINUTE, now=LATER)
    place.runs = code(1)
    guard.store.rollbacks.restored(rollback.rollback_id, sequence=sequence, output=None, now=LATER)
    (ended,) = recover(guard.monitor, now=LATER)
    assert (ended.state, len(place.requests)) == ("finished", 2)
    assert guard.store.actuations.unsettled() == []


def test_a_persons_deployment_before_the_restore_wins(guard: Guard, place: Place) -> None:
    """A deployment between the claim and the restore overtakes the rollback; the outside never hears of it."""
    session_id = regressed(guard)
    claim(guard, session_id)
    guard.deploy(3, at=LATER)
    assert recover(guard.monitor, now=LATER) == []
    assert place.runs == code(3)
    assert place.asked == [("deploy", 1), ("deploy", 2), ("deploy", 3)]
    assert journal(guard, session_id).state == "overtaken"


def test_a_persons_deployment_after_the_restore_wins(guard: Guard, place: Place) -> None:
    """A deployment after the acknowledgement, and before the books say so, overtakes the rollback all the same."""
    session_id = regressed(guard)
    rollback = claim(guard, session_id)
    _, sequence = guard.store.rollbacks.attempt(rollback.rollback_id, holder="dead", until=LATER, now=LATER)
    guard.store.rollbacks.restored(rollback.rollback_id, sequence=sequence, output=None, now=LATER)
    guard.deploy(3, at=LATER)
    recover(guard.monitor, now=LATER)
    assert (journal(guard, session_id).state, place.runs) == ("overtaken", code(3))
    assert guard.store.actuations.unsettled() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_persons_cancel_during_the_call_wins(guard: Guard, place: Place, moment: str) -> None:
    """A cancel while the outside restores calls the rollback off, and what the person left live is put back there."""
    session_id = regressed(guard)
    setattr(place, moment, lambda: guard.monitor.cancel_monitoring(session_id, "not its fault", now=LATER))
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert result["rollback_performed"] is False
    assert journal(guard, session_id).state == "overtaken"
    assert [unsettled.tool_name for unsettled in guard.store.actuations.unsettled()] == ["my_tool"]
    recover(guard.monitor, now=LATER)
    assert place.runs == code(2)
    assert place.asked[2:] == [("rollback", 1), ("settle", 2)]
    assert guard.store.actuations.unsettled() == []


def test_what_is_live_is_asked_for_until_acknowledged(guard: Guard, place: Place) -> None:
    """When the outside may run something else than the books say, it is asked for what is live, with growing pauses."""
    guard.deploy(1)
    place.down = "away"
    with pytest.raises(ActuatorFailed, match="away"):
        guard.deploy(2)
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 1
    for minutes, requests in ((0, 1), (0.5, 1), (1, 2), (2, 2), (3, 3)):
        recover(guard.monitor, now=LATER + minutes * MINUTE)
        assert [action for action, _version in place.asked].count("settle") == requests
    (unsettled,) = guard.store.actuations.unsettled()
    assert (unsettled.attempts, unsettled.last_error) == (3, "away")
    place.down = None
    recover(guard.monitor, now=LATER + timedelta(hours=2))
    assert (place.runs, guard.store.actuations.unsettled()) == (code(1), [])


def test_a_call_of_somebody_else_since_makes_it_be_restored_again(guard: Guard, place: Place) -> None:
    """An acknowledgement that another call came after proves nothing: the version is restored once more."""
    session_id = regressed(guard)
    rollback = claim(guard, session_id)
    _, sequence = guard.store.rollbacks.attempt(rollback.rollback_id, holder="dead", until=LATER, now=LATER)
    guard.store.rollbacks.restored(rollback.rollback_id, sequence=sequence, output=None, now=LATER)
    guard.store.actuations.take("my_tool", holder="a deployer that died", until=LATER, now=LATER)
    assert recover(guard.monitor, now=LATER) == []
    (ended,) = recover(guard.monitor, now=LATER)
    assert (ended.state, place.asked[-1]) == ("finished", ("rollback", 1))


def test_a_deployment_made_elsewhere_is_watched_and_rolled_back(guard: Guard, place: Place) -> None:
    """What others deployed is noted, watched, and rolled back by the actuator; noting it requests nothing."""
    for version, days in ((1, 3), (2, 0)):
        number = guard.registry.note_deployment(
            "my_tool", f"registry.example/tool:{version}", deployed_at=guard.now - timedelta(days=days)
        )
        assert number == version
    session_id = guard.monitor.start_monitoring("my_tool", guard.now, version=2, now=guard.now)
    guard.calls(95, 5, start=guard.now - timedelta(days=3), hours=24)
    guard.calls(10, 10, start=guard.now, hours=1)
    assert place.requests == []
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert result["rollback_performed"] is True
    assert place.runs == "registry.example/tool:1"
    with pytest.raises(CodeQuarantined):
        guard.registry.note_deployment("my_tool", "registry.example/tool:2")
    with pytest.raises(InvalidInput, match="has no actuator"):
        guard.registry.note_deployment("other", "code")


def test_quarantined_code_is_not_even_ordered(guard: Guard, place: Place) -> None:
    """A deployment of quarantined code is refused before the outside hears of it; forced, it goes there."""
    guard.monitor.auto_rollback_if_needed("my_tool", regressed(guard), now=LATER)
    with pytest.raises(CodeQuarantined):
        guard.deploy(2)
    assert place.asked[-1] == ("rollback", 1)
    guard.registry.deploy("my_tool", code(2), force=True)
    assert place.runs == code(2)


def test_a_watcher_without_the_actuator_leaves_it_alone(guard: Guard, place: Place) -> None:
    """A process whose settings do not name the tool's actuator never restores into the folder instead."""
    session_id = regressed(guard)
    claim(guard, session_id)
    plain = ToolRegistry(guard.registry.folder.path, store=guard.store)
    watcher = DeploymentMonitor(execution_store=guard.store, tool_registry=plain, notifiers=[])
    assert recover(watcher, now=LATER) == []
    assert plain.folder.names() == []
    assert journal(guard, session_id).state == "claimed"
    assert [r.state for r in recover(guard.monitor, now=LATER)] == ["finished"]


def test_by_hand(guard: Guard, place: Place) -> None:
    """A rollback by hand that is not acknowledged says so, stands, and is carried out by a later cycle."""
    regressed(guard)
    place.down = "away"
    with pytest.raises(ActuatorFailed, match="away; it is tried again"):
        guard.monitor.roll_back("my_tool", reason="customers complain", now=LATER)
    with pytest.raises(RollbackRefused, match="under way"):
        guard.monitor.roll_back("my_tool", reason="customers complain", now=LATER)
    place.down = None
    assert [r.state for r in recover(guard.monitor, now=LATER + MINUTE)] == ["finished"]
    assert place.runs == code(1)


def test_a_new_session_overtakes_what_the_one_before_decided(guard: Guard, place: Place) -> None:
    """Starting to watch anew calls a decided rollback off; the outside never hears of it, and later ones are free."""
    session_id = regressed(guard)
    claim(guard, session_id)
    guard.watch(at=LATER)
    assert recover(guard.monitor, now=LATER) == []
    assert (journal(guard, session_id).state, place.runs) == ("overtaken", code(2))
    assert guard.monitor.roll_back("my_tool", reason="by hand", now=LATER).state == "finished"


def test_a_session_that_another_program_closed_does_not_block_the_tool(guard: Guard, place: Place) -> None:
    """A claim whose session is over, whoever ended it, is called off instead of being tried for ever."""
    session_id = regressed(guard)
    claim(guard, session_id)
    with guard.store.database.write() as connection:
        closed = {"status": "cancelled", "completed_at": LATER}
        connection.execute(sa.update(deployment_monitoring).values(**closed))
    (ended,) = recover(guard.monitor, now=LATER)
    assert (ended.state, ended.error) == ("overtaken", f"session {session_id} is cancelled")
    assert place.asked == [("deploy", 1), ("deploy", 2)]
    assert guard.store.rollbacks.open() == []
