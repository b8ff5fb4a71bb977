"""What a rollback does, and which version it goes back to."""

from __future__ import annotations

from datetime import timedelta

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, ToolVersionManager
from rollguard.model.event import EventKind
from tests.acceptance.helpers import (
    TEN_AM,
    WEEK,
    Channel,
    after,
    baseline,
    current,
    deploy_at_ten,
    release,
    watch_to_the_end,
)
from tests.conftest import Guard, code


def test_a_rollback_restores_refreshes_logs_and_closes(guard: Guard) -> None:
    """A rollback restores the code, byte for byte, serves it at the next call, writes its row and ends the session."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6)
    assert guard.registry.call("my_tool", x=10) == 12
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))

    assert guard.registry.folder.file("my_tool").read_text() == code(1)
    assert guard.registry.call("my_tool", x=10) == 11
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert (live.version_number, live.deployed_at) == (1, after(6))

    (rollback,) = guard.store.rollbacks.recent()
    assert (rollback.tool_name, rollback.session_id, rollback.rollback_time) == ("my_tool", session_id, after(6))
    assert (rollback.rollback_successful, rollback.state) == (True, "finished")
    assert (rollback.from_version, rollback.to_version) == (2, 1)
    assert (rollback.success_rate_drop, rollback.regression_severity) == (0.18, "medium")
    assert rollback.reason == result["reason"]
    assert "18 points" in rollback.reason

    session = guard.session(session_id)
    assert (session.status, session.completed_at, session.notes) == ("rolled_back", after(6), rollback.reason)


def test_another_registry_of_the_folder_serves_the_restored_version(guard: Guard) -> None:
    """Another registry of the process on the same folder serves the restored version at its next call."""
    session_id = deploy_at_ten(guard)
    other = ToolRegistry(guard.registry.folder.path, store=guard.store)
    assert other.call("my_tool") == 2
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    assert other.call("my_tool") == 1


def test_a_session_is_rolled_back_once(guard: Guard) -> None:
    """Asked again after the rollback, the monitor changes nothing and answers that nothing was rolled back now."""
    session_id = deploy_at_ten(guard)
    baseline(guard, 90, 10)
    current(guard, 18, 7, hours=6)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(6))
    again = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(7))
    assert (again["rollback_performed"], again["session_status"]) == (False, "rolled_back")
    assert len(guard.store.rollbacks.recent()) == 1
    assert guard.registry.call("my_tool") == 1


def test_a_tool_that_was_there_before_can_be_restored(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A file that was in the folder before Rollguard is version 1, and a bad deployment over it rolls back to it."""
    registry.folder.file("my_tool").write_text("def my_tool(x: int = 0) -> int:\n    return x - 1\n")
    registry.refresh()
    guard = Guard(store, registry, DeploymentMonitor(store, registry))
    release(guard, 2, day=0, good=False)
    assert registry.call("my_tool") == -1


# --- without an earlier version -------------------------------------------------------------------------------------


def test_without_an_earlier_version_the_failure_is_recorded_and_told_once(
    store: ExecutionStore, registry: ToolRegistry
) -> None:
    """With nothing to go back to, the rollback is recorded as failed with its reason, and alerted once."""
    channel = Channel()
    guard = Guard(store, registry, DeploymentMonitor(store, registry, notifiers=[channel]))
    guard.deploy(1, at=TEN_AM)
    session_id = guard.watch(at=TEN_AM)
    baseline(guard, 90, 10)
    current(guard, 10, 10, hours=2)

    results = [guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(h)) for h in (2, 3, 4)]
    for result in results:
        assert (result["needs_rollback"], result["rollback_performed"]) == (True, False)
        assert "no earlier good version" in result["reason"]
        assert result["rollback_result"]["rollback_successful"] is False
    (rollback,) = store.rollbacks.recent()
    assert (rollback.session_id, rollback.rollback_successful, rollback.state) == (session_id, False, "failed")
    assert (rollback.from_version, rollback.to_version, rollback.attempts) == (1, None, 1)
    assert rollback.error is not None
    assert "no earlier good version" in rollback.error
    assert "40 points" in rollback.reason
    assert [event.kind for event in channel.events] == [EventKind.ROLLBACK_FAILED]
    assert registry.call("my_tool") == 1
    assert guard.session(session_id).status == "active"


def test_without_an_earlier_version_the_window_ends_as_regressed(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A regression that could not be rolled back is never completed as healthy: the outcome is regressed."""
    channel = Channel()
    guard = Guard(store, registry, DeploymentMonitor(store, registry, notifiers=[channel]))
    guard.deploy(1, at=TEN_AM)
    session_id = guard.watch(at=TEN_AM)
    baseline(guard, 90, 10)
    current(guard, 10, 10, hours=2)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(2))
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=after(24))
    session = guard.session(session_id)
    assert (session.status, session.outcome, session.completed_at) == ("completed", "regressed", after(24))
    assert session.notes is not None
    assert session.notes.startswith("regressed and could not be rolled back")
    assert [event.kind for event in channel.events] == [EventKind.ROLLBACK_FAILED, EventKind.SILENT]


def test_a_mended_version_after_a_failed_rollback_is_watched_anew(guard: Guard) -> None:
    """After a rollback that could not be made, a new deployment supersedes the session and is judged on its own."""
    guard.deploy(1, at=TEN_AM)
    first = guard.watch(at=TEN_AM)
    baseline(guard, 90, 10)
    current(guard, 10, 10, hours=2)
    guard.monitor.auto_rollback_if_needed("my_tool", first, now=after(2))
    guard.deploy(2, at=after(3))
    second = guard.watch(at=after(3))
    guard.calls(20, 0, start=after(3))
    result = guard.monitor.auto_rollback_if_needed("my_tool", second, now=after(5))
    assert guard.session(first).status == "superseded"
    assert (result["verdict"], result["rollback_performed"]) == ("healthy", False)


# --- the target -----------------------------------------------------------------------------------------------------


def test_the_target_is_the_last_version_that_was_not_itself_rolled_back(guard: Guard) -> None:
    """Through several deployments and rollbacks in a row, each rollback skips the versions that were rolled back."""
    guard.deploy(1, at=TEN_AM - WEEK)
    story = [
        release(guard, version, day=10 * version, good=good)["rollback_result"]
        for version, good in ((2, True), (3, False), (4, False), (5, True), (6, False), (7, False))
    ]
    assert [result and (result["from_version"], result["to_version"]) for result in story] == [
        None,
        (3, 2),
        (4, 2),
        None,
        (6, 5),
        (7, 5),
    ]
    assert guard.registry.call("my_tool") == 5


def test_a_restored_version_that_regresses_goes_back_further(guard: Guard) -> None:
    """When what was restored is bad too, the next one goes back further, and at last there is nothing left."""
    guard.deploy(1, at=TEN_AM - WEEK)
    release(guard, 2, day=10, good=True)
    assert release(guard, 3, day=20, good=False)["rollback_result"]["to_version"] == 2
    assert watch_to_the_end(guard, day=30, good=False)["rollback_result"]["to_version"] == 1
    last = watch_to_the_end(guard, day=40, good=False)
    assert last["rollback_performed"] is False
    assert last["rollback_result"]["to_version"] is None
    assert guard.registry.call("my_tool") == 1


def test_the_target_is_what_was_live_last_and_not_the_highest_number(guard: Guard) -> None:
    """A version that was deployed again is the last one that was live, whatever its number."""
    for day, version in enumerate((1, 2, 1)):
        guard.deploy(version, at=TEN_AM - WEEK + timedelta(days=day))
    assert release(guard, 3, day=10, good=False)["rollback_result"]["to_version"] == 1


def test_a_version_rolled_back_by_hand_is_no_target_either(guard: Guard) -> None:
    """What a person rolled back is skipped just the same."""
    guard.deploy(1, at=TEN_AM - WEEK)
    release(guard, 2, day=10, good=True)
    release(guard, 3, day=20, good=True)
    guard.monitor.roll_back("my_tool", reason="customers complain", now=TEN_AM + timedelta(days=25))
    assert guard.registry.call("my_tool") == 2
    assert release(guard, 4, day=30, good=False)["rollback_result"]["to_version"] == 2


def test_a_kept_version_that_was_never_live_is_no_target(guard: Guard) -> None:
    """A hand edit that was kept but never deployed is not restored by a rollback."""
    guard.deploy(1, at=TEN_AM - WEEK)
    guard.registry.folder.file("my_tool").write_text(code(99))
    guard.deploy(3, at=TEN_AM)
    assert guard.store.versions.history("my_tool")[0].version_number == 3
    assert watch_to_the_end(guard, day=10, good=False)["rollback_result"]["to_version"] == 1


def test_versions_are_kept_with_who_when_and_why_and_any_can_be_brought_back(guard: Guard) -> None:
    """Every version is kept with its metadata, and a person can roll back to any of them."""
    guard.registry.deploy("my_tool", code(1), created_by="ada", reason="first", deployed_at=TEN_AM - WEEK)
    guard.registry.deploy("my_tool", code(2), created_by="improver", reason="faster", deployed_at=TEN_AM)
    guard.registry.deploy("my_tool", code(3), created_by="ada", reason="safer", deployed_at=after(1))
    versions = ToolVersionManager(guard.store, guard.registry)
    history = [(v.version_number, v.created_by, v.reason) for v in versions.get_version_history("my_tool")]
    assert history == [(3, "ada", "safer"), (2, "improver", "faster"), (1, "ada", "first")]
    rollback = versions.rollback_to_version("my_tool", 1, reason="back to the start", now=after(2))
    assert (rollback.from_version, rollback.to_version, rollback.rollback_successful) == (3, 1, True)
    assert guard.registry.call("my_tool") == 1
    now = versions.get_current_version("my_tool")
    assert now is not None
    assert now.version_number == 1
