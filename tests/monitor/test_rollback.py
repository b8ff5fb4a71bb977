"""Rolling back: once, whole, explained, and never over a person's head."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import (
    InvalidInput,
    NoEarlierVersion,
    RollbackRefused,
    SessionClosed,
    ToolFileError,
    UnknownSession,
    UnknownTool,
    UnknownVersion,
)
from rollguard.model.event import Event
from rollguard.store import Intention
from tests.conftest import NOW, Guard, code
from tests.watching import recover

LATER = NOW + timedelta(hours=2)


class Told:
    """A channel that remembers what it was told."""

    name = "test"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry, told: Told) -> DeploymentMonitor:
    return DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[told])


def _regressed(guard: Guard, *, versions: int = 2) -> int:
    """A session whose deployment clearly made the tool worse."""
    for version in range(1, versions + 1):
        guard.deploy(version, at=NOW - timedelta(days=versions - version))
    session_id = guard.watch(at=NOW)
    guard.calls(95, 5, start=NOW - timedelta(days=3), hours=24)
    guard.calls(10, 10, start=NOW, hours=1)
    return session_id


def _file(guard: Guard) -> str:
    return guard.registry.folder.file("my_tool").read_text()


def test_the_previous_version_is_restored_and_everything_says_so(guard: Guard, told: Told) -> None:
    """After a rollback the file, the live pointer, the session, the rollback's row and the alert agree."""
    session_id = _regressed(guard)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert result["rollback_performed"] is True
    assert result["rollback_type"] == "threshold"
    assert _file(guard) == code(1)
    assert guard.registry.call("my_tool", x=1) == 2
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert (live.version_number, live.deployed_by) == (1, "rollguard")
    session = guard.session(session_id)
    assert (session.status, session.completed_at) == ("rolled_back", LATER)
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert (rollback.state, rollback.from_version, rollback.to_version) == ("finished", 2, 1)
    assert (rollback.success_rate_drop, rollback.regression_severity) == (pytest.approx(0.45), "critical")
    (event,) = told.events
    assert (event.kind, event.level, event.session_id) == ("rolled_back", "critical", session_id)
    investigation: Any = rollback.investigation
    for entry in investigation["signatures"]:
        for sample in entry["samples"]:
            del sample["parameters"]  # which an alert does not show
    assert event.details["investigation"] == investigation


def test_the_investigation_compares_errors_with_before(guard: Guard) -> None:
    """With a rollback is stored what fails since the deployment against before, with counts and samples."""
    session_id = _regressed(guard)
    for i in range(12):
        guard.store.store_tool_execution(
            tool_name="my_tool",
            success=False,
            error=KeyError(f"column {i}"),
            parameters={"row": i},
            executed_at=NOW + timedelta(minutes=i),
        )
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert rollback.investigation is not None
    first = rollback.investigation["signatures"][0]
    assert (first["signature"], first["count"], first["count_before"], first["new"]) == (
        "KeyError: <text>",
        12,
        0,
        True,
    )
    assert first["samples"][0]["parameters"] == '{"row":11}'
    assert rollback.investigation["failures_before"] == 5


def test_many_monitors_roll_back_once(guard: Guard, told: Told) -> None:
    """Eight monitors that find the same regression at the same moment make one rollback and one alert."""
    session_id = _regressed(guard)
    start = threading.Barrier(8)

    def check(_number: int) -> bool:
        monitor = DeploymentMonitor(execution_store=guard.store, tool_registry=guard.registry, notifiers=[told])
        start.wait()
        return bool(monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)["rollback_performed"])

    with ThreadPoolExecutor(8) as pool:
        performed = list(pool.map(check, range(8)))
    assert performed.count(True) == 1
    assert len(guard.store.rollbacks.recent()) == 1
    assert len(guard.store.versions.deployments("my_tool")) == 3
    assert len(told.events) == 1


def _claim(guard: Guard, session_id: int) -> int:
    """A rollback that was decided by a process that then died."""
    intention = Intention("my_tool", session_id, 2, None, "50 points", "threshold", "rollguard")
    return guard.store.rollbacks.claim(intention, event_if_held=lambda _r: {}, now=LATER).rollback_id


def test_a_claim_of_a_dead_process_is_carried_out_once(guard: Guard, told: Told) -> None:
    """What a process decided and did not live to finish is finished by the next one, exactly once."""
    session_id = _regressed(guard)
    rollback_id = _claim(guard, session_id)
    assert [r.rollback_id for r in recover(guard.monitor, now=LATER + timedelta(minutes=1))] == [rollback_id]
    assert recover(guard.monitor, now=LATER) == []
    assert _file(guard) == code(1)
    assert guard.session(session_id).status == "rolled_back"
    assert [event.kind for event in told.events] == ["rolled_back"]
    later = [entry["what"] for entry in guard.monitor.explain(session_id)["timeline"]]
    assert later.index("rollback decided: to version 1") < later.index(
        "rollback finished: version 1 in place of version 2"
    )


def test_a_claim_is_finished_though_the_file_was_already_swapped(guard: Guard) -> None:
    """A process that died between the file and the books leaves nothing that the next one cannot finish."""
    session_id = _regressed(guard)
    _claim(guard, session_id)
    guard.registry.put(guard.store.versions.get("my_tool", 1))
    recover(guard.monitor, now=LATER)
    assert guard.session(session_id).status == "rolled_back"
    assert [v.kind for v in guard.store.versions.history("my_tool")] == ["improvement", "initial"]


def test_a_persons_deployment_wins(guard: Guard) -> None:
    """A rollback that was decided but not carried out does not undo what a person deploys meanwhile."""
    session_id = _regressed(guard)
    _claim(guard, session_id)
    guard.deploy(3, at=LATER)
    assert recover(guard.monitor, now=LATER) == []
    assert _file(guard) == code(3)
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    assert (rollback.state, rollback.rollback_successful) == ("overtaken", False)
    assert "human deployed version 3" in (rollback.error or "")
    assert guard.session(session_id).status == "superseded"


def test_a_persons_cancel_wins(guard: Guard) -> None:
    """Cancelling a session calls off a rollback that was decided but not carried out."""
    session_id = _regressed(guard)
    _claim(guard, session_id)
    guard.monitor.cancel_monitoring(session_id, "known, not its fault", now=LATER)
    assert recover(guard.monitor, now=LATER) == []
    assert _file(guard) == code(2)
    assert guard.session(session_id).notes == "known, not its fault"


def test_a_session_is_not_completed_under_a_rollback(guard: Guard) -> None:
    """A session does not end while a rollback of it is being carried out."""
    session_id = _regressed(guard)
    _claim(guard, session_id)
    assert guard.store.sessions.complete(session_id, outcome="healthy", notes="", now=LATER) is False
    assert guard.session(session_id).active


def test_a_file_that_cannot_be_written_is_retried(guard: Guard, told: Told) -> None:
    """A file that cannot be restored is recorded and told once; the session stays active and a later check retries."""
    session_id = _regressed(guard)
    path = guard.registry.folder.file("my_tool")
    path.unlink()
    path.mkdir()
    for attempt, later in ((1, LATER), (2, LATER + timedelta(minutes=1))):
        result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=later)
        assert (result["rollback_performed"], result["session_status"]) == (False, "active")
        rollback = guard.store.rollbacks.of_session(session_id)
        assert rollback is not None
        assert (rollback.state, rollback.attempts) == ("failed", attempt)
        assert str(path) in (rollback.error or "")
    assert [event.kind for event in told.events] == ["rollback_failed"]
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 2
    path.rmdir()
    later = LATER + timedelta(minutes=3)
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=later)["rollback_performed"] is True
    assert _file(guard) == code(1)
    assert len(guard.store.rollbacks.recent()) == 1


def test_a_deleted_file_is_restored(guard: Guard) -> None:
    """A tool whose file was deleted by hand comes back with the rollback."""
    session_id = _regressed(guard)
    guard.registry.folder.file("my_tool").unlink()
    assert guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)["rollback_performed"] is True
    assert _file(guard) == code(1)


def test_a_hand_edited_file_is_kept_before_it_is_restored_over(guard: Guard) -> None:
    """What a person wrote into the file is kept as a version of its own, author unknown."""
    session_id = _regressed(guard)
    guard.registry.folder.file("my_tool").write_text(code(77))
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    kept = guard.store.versions.history("my_tool")[0]
    assert (kept.version_number, kept.created_by, kept.kind, kept.code.decode()) == (3, "unknown", "edit", code(77))
    assert _file(guard) == code(1)


def test_an_edit_at_the_very_moment_of_a_rollback_is_kept(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person saves between the look at the file and its swap is kept, too, and then restored over."""
    session_id = _regressed(guard)
    finish, edits = guard.store.rollbacks.finish, iter([code(77)])

    def edited_before(*arguments: Any, **keywords: Any) -> Any:
        for edit in edits:
            guard.registry.folder.file("my_tool").write_text(edit)
            break
        return finish(*arguments, **keywords)

    monkeypatch.setattr(guard.store.rollbacks, "finish", edited_before)
    result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert (result["rollback_performed"], _file(guard)) == (True, code(1))
    kept = guard.store.versions.history("my_tool")[0]
    assert (kept.kind, kept.code.decode()) == ("edit", code(77))


def test_a_file_that_is_edited_again_and_again_is_not_restored_over(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no look at the file holds until its swap, the claim stands, nothing is lost, and a later cycle does it."""
    session_id = _regressed(guard)
    finish, edits = guard.store.rollbacks.finish, iter(range(70, 99))

    def edited_before(*arguments: Any, **keywords: Any) -> Any:
        guard.registry.folder.file("my_tool").write_text(code(next(edits)))
        return finish(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(guard.store.rollbacks, "finish", edited_before)
        result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=LATER)
    assert (result["rollback_performed"], _file(guard)) == (False, code(72))
    assert "its file changed at this moment" in result["reason"]
    assert [r.state for r in recover(guard.monitor, now=LATER)] == ["finished"]
    edits_kept = [v.code.decode() for v in guard.store.versions.history("my_tool") if v.kind == "edit"]
    assert edits_kept == [code(72), code(71), code(70)]


def test_a_version_that_the_books_never_had_live_is_not_rolled_back_in_silence(guard: Guard, told: Told) -> None:
    """A watch over a version that is not live by the books ends like any other, and people are told why, once."""
    guard.deploy(1, at=NOW - timedelta(days=2))
    guard.registry.keep("my_tool", code(2))
    session_id = guard.monitor.start_monitoring("my_tool", NOW, version=2, now=NOW)
    guard.calls(95, 5, start=NOW - timedelta(days=1), hours=12)
    guard.calls(0, 20, start=NOW, hours=1)
    for later in (LATER, LATER + timedelta(minutes=5)):
        result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=later)
        assert (result["needs_rollback"], result["rollback_performed"]) == (True, False)
        assert "version 2 is monitored, but version 1 is recorded as live" in result["reason"]
    assert [event.kind for event in told.events] == ["rollback_failed"]
    assert _file(guard) == code(1)
    guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + timedelta(hours=25))
    session = guard.session(session_id)
    assert (session.status, session.outcome) == ("completed", "regressed")


def test_by_hand_to_any_version(guard: Guard, told: Told) -> None:
    """A person can bring back any version; the session that watched is closed by it, and people are told."""
    session_id = _regressed(guard, versions=4)
    rollback = guard.monitor.roll_back("my_tool", to_version=2, reason="the old one was right", now=LATER)
    assert (rollback.from_version, rollback.to_version, rollback.rollback_type) == (4, 2, "manual")
    assert guard.session(session_id).status == "rolled_back"
    assert _file(guard) == code(2)
    assert [event.reasons for event in told.events] == [("the old one was right",)]


def test_by_hand_refusals(guard: Guard, told: Told) -> None:
    """A rollback by hand that cannot be meant is refused, each with its own error, and changes nothing."""
    with pytest.raises(UnknownTool, match="never deployed"):
        guard.monitor.roll_back("my_tool", reason="r", now=NOW)
    guard.deploy(1)
    with pytest.raises(NoEarlierVersion, match="no earlier good version"):
        guard.monitor.roll_back("my_tool", reason="r", now=NOW)
    assert told.events == []
    assert guard.store.rollbacks.recent() == []
    guard.deploy(2)
    with pytest.raises(UnknownVersion, match="it has 1, 2"):
        guard.monitor.roll_back("my_tool", to_version=9, reason="r", now=NOW)
    with pytest.raises(RollbackRefused, match="already live"):
        guard.monitor.roll_back("my_tool", to_version=2, reason="r", now=NOW)
    guard.registry.folder.file("my_tool").unlink()
    guard.registry.folder.file("my_tool").mkdir()
    with pytest.raises(ToolFileError, match="my_tool"):
        guard.monitor.roll_back("my_tool", reason="r", now=NOW)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tool_name": "my_tool", "session_id": 99}, UnknownSession),
        ({"tool_name": "my_tool", "session_id": "first"}, InvalidInput),
        ({"tool_name": "my_tool", "session_id": 2**31}, InvalidInput),
        ({"tool_name": "other", "session_id": 1}, InvalidInput),
    ],
)
def test_a_session_that_is_not_meant_is_refused(guard: Guard, arguments: dict[str, Any], error: type) -> None:
    """A check of an unknown session, or of another tool's, is refused."""
    guard.watch()
    with pytest.raises(error):
        guard.monitor.check_health(**arguments, now=NOW)


def test_a_deployment_in_the_future_is_refused(guard: Guard) -> None:
    """A deployment time ahead of the clock is refused with what is usually behind it: a mixed-up time zone."""
    with pytest.raises(InvalidInput, match="local time"):
        guard.monitor.start_monitoring("my_tool", NOW + timedelta(hours=1), now=NOW)
    with pytest.raises(InvalidInput, match="not a datetime"):
        guard.monitor.start_monitoring("my_tool", "2026-03-01", now=NOW)


def test_a_closed_session_cannot_be_cancelled(guard: Guard) -> None:
    """Only an active session can be cancelled."""
    session_id = guard.watch()
    guard.monitor.cancel_monitoring(session_id, now=NOW)
    with pytest.raises(SessionClosed, match="already cancelled"):
        guard.monitor.cancel_monitoring(session_id, now=NOW)


def test_a_slowdown_is_told_once_while_it_lasts(guard: Guard, told: Told) -> None:
    """A slowdown is alerted when it begins, not at every check, and rolls nothing back."""
    guard.deploy(1, at=NOW - timedelta(days=2))
    guard.deploy(2)
    session_id = guard.watch()
    guard.calls(20, 0, start=NOW - timedelta(days=1), ms=10.0)
    guard.calls(20, 0, start=NOW, ms=40.0)
    for minutes in (61, 66, 71):
        result = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + timedelta(minutes=minutes))
        assert result["comparison"]["performance_degradation"] is True
        assert result["rollback_performed"] is False
    assert [(event.kind, event.level) for event in told.events] == [("slowdown", "warning")]
