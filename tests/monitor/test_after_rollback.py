"""What comes of a rollback: quarantine, a daily cap, observing only, pauses between attempts, and whether it helped."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rollguard import AutonomousLoop, DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import CodeQuarantined, UnknownVersion
from rollguard.loop.stages import HealthStage
from rollguard.model.rollback import Rollback
from tests.conftest import NOW, Guard, code
from tests.monitor.helpers import LATER, Told, deploy_bad, regressed
from tests.watching import check_all, follow_up

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry, told: Told) -> DeploymentMonitor:
    return DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[told])


def check(guard: Guard, session_id: int, now: object) -> dict[str, object]:
    return guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=now)  # type: ignore[arg-type]


def journal(guard: Guard, session_id: int) -> Rollback:
    rollback = guard.store.rollbacks.of_session(session_id)
    assert rollback is not None
    return rollback


def file(guard: Guard) -> str:
    return guard.registry.folder.file("my_tool").read_text()


def rolled_back(guard: Guard) -> int:
    """A session that was rolled back at LATER."""
    session_id = regressed(guard)
    assert check(guard, session_id, LATER)["rollback_performed"] is True
    return session_id


# --- quarantine -----------------------------------------------------------------------------------------------------


def test_rolled_back_code_does_not_go_live_again(guard: Guard) -> None:
    """After an automatic rollback the same code is refused, byte for byte, and nothing is changed."""
    rolled_back(guard)
    deployments = guard.store.versions.deployments("my_tool")
    with pytest.raises(CodeQuarantined, match=r"version 2, which was rolled back .*50 %.*rollguard deploy --force"):
        guard.deploy(2)
    with pytest.raises(CodeQuarantined):
        guard.registry.restore("my_tool", 2)
    with pytest.raises(CodeQuarantined):
        guard.monitor.roll_back("my_tool", to_version=2, reason="I want it", now=LATER)
    assert (file(guard), guard.store.versions.deployments("my_tool")) == (code(1), deployments)
    (held,) = guard.store.quarantine.in_force()
    assert (held.tool_name, held.version_number, held.quarantined_at) == ("my_tool", 2, LATER)


def test_other_code_and_other_tools_are_free(guard: Guard) -> None:
    """Quarantine is by hash and tool: a mended version goes live, and so does the same code as another tool."""
    rolled_back(guard)
    assert guard.deploy(3) == 3
    assert guard.registry.deploy("other", "def other() -> int:\n    return 2\n") == 1


def test_force_lifts_the_quarantine(guard: Guard) -> None:
    """`force=True` deploys quarantined code, which is not in quarantine any more, and says who lifted it."""
    rolled_back(guard)
    assert guard.registry.deploy("my_tool", code(2), created_by="ada", force=True) == 2
    assert file(guard) == code(2)
    assert guard.store.quarantine.in_force() == []
    (lifted,) = guard.store.quarantine.history()
    assert lifted.lifted_by == "ada"


def test_a_version_that_is_rolled_back_twice_is_in_quarantine_again(guard: Guard) -> None:
    """Code that was forced and fails again is quarantined again."""
    rolled_back(guard)
    second = deploy_bad(guard, 2, at=LATER + HOUR, force=True)
    assert check(guard, second, LATER + 2 * HOUR)["rollback_performed"] is True
    assert len(guard.store.quarantine.in_force()) == 1
    assert len(guard.store.quarantine.history()) == 2


def test_lifting_by_hand(guard: Guard) -> None:
    """A quarantine can be lifted without deploying; what is in none is refused."""
    rolled_back(guard)
    lifted = guard.store.quarantine.lift("my_tool", 2, by="ada", now=LATER)
    assert (lifted.version_number, lifted.lifted_by, lifted.lifted_at) == (2, "ada", LATER)
    assert guard.deploy(2) == 2
    with pytest.raises(UnknownVersion, match="not in quarantine"):
        guard.store.quarantine.lift("my_tool", 2, by="ada", now=LATER)


def test_a_rollback_by_hand_quarantines_only_when_asked(guard: Guard) -> None:
    """A person may have reasons of their own, so a rollback by hand quarantines only when told to."""
    guard.deploy(1)
    guard.deploy(2)
    guard.monitor.roll_back("my_tool", reason="wrong day", now=LATER)
    assert guard.store.quarantine.in_force() == []
    guard.deploy(2)
    guard.monitor.roll_back("my_tool", reason="it deletes files", quarantine=True, now=LATER)
    assert [held.version_number for held in guard.store.quarantine.in_force()] == [2]


def test_the_target_is_never_quarantined_code(guard: Guard) -> None:
    """What is in quarantine is passed over, though its latest time of being live ended well."""
    guard.deploy(1, at=NOW - 9 * DAY)
    guard.deploy(2, at=NOW - 8 * DAY)
    guard.monitor.roll_back("my_tool", reason="it deletes files", quarantine=True, now=NOW - 7 * DAY)
    assert guard.store.versions.previous_good("my_tool") is None
    guard.deploy(3, at=NOW - 6 * DAY)
    assert guard.store.versions.previous_good("my_tool") == 1


def test_quarantined_code_that_comes_back_by_hand_is_told_once(guard: Guard, told: Told) -> None:
    """When a person edits quarantined code back into the file people are told, once each time that it happens."""
    rolled_back(guard)
    path = guard.registry.folder.file("my_tool")
    for times in (1, 2):
        path.write_text(code(2))
        follow_up(guard.monitor, now=LATER)
        follow_up(guard.monitor, now=LATER)
        assert told.kinds.count("quarantined_code") == times
        path.write_text(code(1))
        follow_up(guard.monitor, now=LATER)
    path.unlink()
    follow_up(guard.monitor, now=LATER)
    assert told.kinds.count("quarantined_code") == 2


# --- cap ------------------------------------------------------------------------------------------------------------


def test_past_the_cap_nothing_is_done_and_people_are_told_once(guard: Guard, told: Told) -> None:
    """After so many automatic rollbacks in 24 hours the next is recorded and alerted, the session stays active, and a
    day after the first of them it is carried out."""
    rolled_back(guard)
    for number in (3, 4):
        bad = deploy_bad(guard, number, at=LATER + number * HOUR, max_rollbacks_per_day=2)
        result = check(guard, bad, LATER + (number + 0.5) * HOUR)
    assert [r.state for r in guard.store.rollbacks.recent()] == ["capped", "finished", "finished"]
    assert "rolled back 2 times within 24 hours" in str(result["reason"])
    for minutes in (35, 40):
        check(guard, bad, LATER + 4 * HOUR + minutes * MINUTE)
    assert told.kinds == ["rolled_back", "rolled_back", "rollback_capped"]
    assert guard.session(bad).active
    assert file(guard) == code(4)
    assert check(guard, bad, LATER + DAY - MINUTE)["rollback_performed"] is False
    assert check(guard, bad, LATER + DAY)["rollback_performed"] is True
    assert journal(guard, bad).state == "finished"


def test_rollbacks_by_hand_do_not_count_and_are_not_capped(guard: Guard) -> None:
    """The cap is about what happens without a person: it neither counts nor holds back what one asks for."""
    guard.deploy(1, at=NOW - DAY)
    for number in (2, 3, 4):
        guard.deploy(number)
        guard.monitor.roll_back("my_tool", reason="by hand", now=NOW)
    guard.calls(95, 5, start=NOW - 3 * DAY, hours=24)
    bad = deploy_bad(guard, 5, at=NOW, max_rollbacks_per_day=1)
    assert check(guard, bad, LATER)["rollback_performed"] is True
    worse = deploy_bad(guard, 6, at=LATER + HOUR, max_rollbacks_per_day=1)
    assert check(guard, worse, LATER + 2 * HOUR)["rollback_performed"] is False
    assert guard.monitor.roll_back("my_tool", reason="I say so", now=LATER + 2 * HOUR).state == "finished"


def test_a_cap_of_0_is_no_cap(guard: Guard) -> None:
    """With `max_rollbacks_per_day = 0` every regression is rolled back."""
    rolled_back(guard)
    for number in range(3, 9):
        at = LATER + number * HOUR
        bad = deploy_bad(guard, number, at=at, max_rollbacks_per_day=0)
        assert check(guard, bad, at + HOUR / 2)["rollback_performed"] is True


# --- observe --------------------------------------------------------------------------------------------------------


def test_observing_records_and_tells_and_changes_nothing(guard: Guard, told: Told) -> None:
    """With `mode = "observe"` the decision is recorded once and told once, and what is live stays live."""
    session_id = regressed(guard, mode="observe")
    for hours in (2, 3, 4):
        result = check(guard, session_id, NOW + hours * HOUR)
        assert (result["needs_rollback"], result["rollback_performed"]) == (True, False)
    rollback = journal(guard, session_id)
    assert (rollback.state, rollback.to_version, rollback.rollback_successful) == ("observed", 1, False)
    assert 'mode is "observe"; version 1 would be restored' in (rollback.error or "")
    assert told.kinds == ["rollback_observed"]
    assert (file(guard), guard.session(session_id).status) == (code(2), "active")
    check(guard, session_id, NOW + DAY)
    session = guard.session(session_id)
    assert (session.status, session.outcome) == ("completed", "regressed")


def test_what_was_only_found_regressed_is_no_target(guard: Guard) -> None:
    """A rollback passes over a version that was found regressed and only observed, if there is a better one."""
    check(guard, regressed(guard, mode="observe"), LATER)
    assert check(guard, deploy_bad(guard, 3, at=LATER + HOUR), LATER + 2 * HOUR)["rollback_performed"] is True
    assert file(guard) == code(1)


def test_without_a_better_one_the_regressed_version_is_the_target(guard: Guard) -> None:
    """If no version is better, the one that was found regressed is restored: it is the last that was live."""
    guard.calls(100, 0, start=NOW - 3 * DAY, hours=24)
    check(guard, deploy_bad(guard, 1, at=NOW, mode="observe"), LATER)
    assert check(guard, deploy_bad(guard, 2, at=LATER + HOUR), LATER + 2 * HOUR)["rollback_performed"] is True
    assert file(guard) == code(1)


def test_a_person_may_carry_out_what_was_only_observed(guard: Guard) -> None:
    """A rollback by hand takes the observed decision up."""
    session_id = regressed(guard, mode="observe")
    check(guard, session_id, LATER)
    assert guard.monitor.roll_back("my_tool", reason="you were right", now=LATER).session_id == session_id
    assert (file(guard), journal(guard, session_id).state) == (code(1), "finished")


# --- attempts -------------------------------------------------------------------------------------------------------


def test_attempts_have_growing_pauses(guard: Guard, told: Told) -> None:
    """A file that cannot be written is tried again after 1, 2, 4 … 60 minutes; a person need not wait."""
    session_id = regressed(guard)
    path = guard.registry.folder.file("my_tool")
    path.unlink()
    path.mkdir()
    now = LATER
    pauses = []
    for _ in range(8):
        check(guard, session_id, now)
        rollback = journal(guard, session_id)
        assert rollback.next_attempt_at is not None
        pauses.append(int((rollback.next_attempt_at - now) / MINUTE))
        check(guard, session_id, rollback.next_attempt_at - timedelta(seconds=1))
        assert journal(guard, session_id).attempts == rollback.attempts == len(pauses)
        now = rollback.next_attempt_at
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert told.kinds == ["rollback_failed"]
    assert guard.session(session_id).active
    path.rmdir()
    assert guard.monitor.roll_back("my_tool", reason="mended", now=now - MINUTE).state == "finished"


# --- verification ---------------------------------------------------------------------------------------------------


def after(guard: Guard, successes: int, failures: int) -> None:
    """Calls of the restored version in the hour after the rollback."""
    guard.store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": i < successes,
            "executed_at": LATER + timedelta(minutes=i + 1),
            "version_number": 1,
        }
        for i in range(successes + failures)
    )


def test_a_rollback_that_helped_says_so(guard: Guard, told: Told) -> None:
    """With enough calls of the restored version and no regression it recovered; that is noted and told, once."""
    session_id = rolled_back(guard)
    after(guard, 9, 0)
    assert follow_up(guard.monitor, now=LATER + HOUR) == []
    after(guard, 1, 0)
    rollback = journal(guard, session_id)
    assert follow_up(guard.monitor, now=LATER + HOUR) == [(rollback.rollback_id, True)]
    assert follow_up(guard.monitor, now=LATER + HOUR) == []
    rollback = journal(guard, session_id)
    assert (rollback.verified_at, rollback.verification_success) == (LATER + HOUR, True)
    assert "recovered: 0 of 10 calls failed (0 %) since the rollback" in (rollback.verification_note or "")
    assert "evidence" in (rollback.verification_note or "")
    assert told.kinds == ["rolled_back", "recovered"]
    assert guard.monitor.explain(session_id)["timeline"][-1]["what"].startswith("rollback verified: recovered: 0 of 10")


def test_a_rollback_that_did_not_help_says_that_it_was_not_the_cause(guard: Guard, told: Told) -> None:
    """When the restored version fails as well, the cause is elsewhere: people are told, and nothing more is done."""
    session_id = rolled_back(guard)
    after(guard, 5, 5)
    rollback = journal(guard, session_id)
    assert follow_up(guard.monitor, now=LATER + HOUR) == [(rollback.rollback_id, False)]
    rollback = journal(guard, session_id)
    assert (rollback.verified_at, rollback.verification_success) == (LATER + HOUR, False)
    assert (rollback.verification_note or "").startswith("not the cause: the restored version fails as well; 5 of 10")
    assert told.kinds == ["rolled_back", "not_the_cause"]
    assert guard.monitor.get_active_sessions() == []
    assert file(guard) == code(1)


def test_calls_before_the_rollback_and_of_the_bad_version_do_not_count(guard: Guard) -> None:
    """Only calls of the restored version since the rollback verify it; late ones of the bad version do not."""
    rolled_back(guard)
    for moment, version in ((LATER - MINUTE, 1), (LATER + MINUTE, 2)):
        guard.store.store_tool_executions(
            {"tool_name": "my_tool", "success": False, "executed_at": moment, "version_number": version}
            for _ in range(20)
        )
    assert follow_up(guard.monitor, now=LATER + HOUR) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_without_enough_calls_it_stays_unproven(guard: Guard, told: Told, replaced: bool) -> None:
    """When the window is over, or another version goes live, with too few calls, that is noted and nobody is told."""
    session_id = rolled_back(guard)
    after(guard, 0, 5)
    end = LATER + DAY
    if replaced:
        guard.deploy(3, at=LATER + HOUR)
        end = LATER + HOUR
    assert follow_up(guard.monitor, now=end - MINUTE) == []
    rollback = journal(guard, session_id)
    assert follow_up(guard.monitor, now=end) == [(rollback.rollback_id, None)]
    rollback = journal(guard, session_id)
    assert (rollback.verified_at, rollback.verification_success) == (None, None)
    why = "another version went live" if replaced else "the window is over"
    assert (rollback.verification_note or "").startswith(f"unproven: {why}")
    assert told.kinds == ["rolled_back"]
    assert follow_up(guard.monitor, now=end + DAY) == []


def test_verification_counts_by_the_sessions_own_rules(guard: Guard) -> None:
    """What did not count before the rollback does not count after it: the caller's errors, and calls made again."""
    session_id = regressed(guard, caller_errors=["ValidationError"], collapse_retries=30.0)
    assert check(guard, session_id, LATER)["rollback_performed"] is True
    after(guard, 10, 0)
    call = {"tool_name": "my_tool", "success": False, "version_number": 1}
    for i in range(10):
        moment = LATER + timedelta(minutes=i + 1)
        guard.store.store_tool_execution(**call, error="ValidationError: bad input", executed_at=moment)
        for attempt in range(2):
            again = moment + timedelta(seconds=attempt)
            guard.store.store_tool_execution(**call, error="OSError: away", parameters={"x": 1}, executed_at=again)
    guard.store.store_tool_execution(
        tool_name="my_tool", success=True, version_number=1, parameters={"x": 1}, executed_at=LATER + 10.25 * MINUTE
    )
    follow_up(guard.monitor, now=LATER + HOUR)
    assert "9 of 20 calls failed" in (journal(guard, session_id).verification_note or "")


# --- the investigation ----------------------------------------------------------------------------------------------


def retried(guard: Guard, start: datetime, count: int) -> None:
    """Failures of each kind, and failures that count by no rule: tried again, or the caller's."""
    failed = {"tool_name": "my_tool", "success": False}
    for i in range(count):
        moment = start + i * MINUTE
        for attempt in range(3):
            again = {"executed_at": moment + timedelta(seconds=attempt)}
            name = f"{start} {i}"
            guard.store.store_tool_execution(**failed, **again, error="OSError: away", request_id=name)
            guard.store.store_tool_execution(**failed, **again, error="KeyError: no", parameters={"x": name})
            guard.store.store_tool_execution(**failed, **again, error="ValidationError: bad input")


@pytest.mark.parametrize("by_hand", [False, True])
def test_the_investigation_counts_what_the_verdict_counts(guard: Guard, by_hand: bool) -> None:
    """Executions of one request, calls made again and the caller's errors are no more failures there than here."""
    session_id = regressed(guard, caller_errors=["ValidationError"], collapse_retries=5.0)
    retried(guard, NOW - DAY, 4)
    retried(guard, NOW, 10)
    report = guard.monitor.check_health("my_tool", session_id, now=LATER)
    if by_hand:
        guard.monitor.roll_back("my_tool", reason="it fails", now=LATER)
    else:
        check(guard, session_id, LATER)
    found = journal(guard, session_id).investigation
    assert found is not None
    sides = [report[side] for side in ("baseline", "current")]
    failures = [side["total_executions"] - side["successes"] for side in sides]
    assert [found["failures_before"], found["failures_since"]] == failures == [5 + 8, 10 + 20]
    counts = {entry["signature"]: (entry["count_before"], entry["count"]) for entry in found["signatures"]}
    assert counts == {"OSError: away": (4, 10), "KeyError: no": (4, 10), "failure": (5, 10)}


# --- watchers -------------------------------------------------------------------------------------------------------

LEASE = 10 * MINUTE


def watchers(guard: Guard, count: int) -> list[HealthStage]:
    stages = []
    for _ in range(count):
        stages.append(HealthStage(DeploymentMonitor(guard.store, guard.registry, notifiers=[]), lease=LEASE))
        stages[-1].start()
    return stages


def checked(watcher: HealthStage, now: datetime | None = None) -> int:
    """How many sessions a watcher checks."""
    return watcher.run(now)["checks"]


def test_watchers_share_the_work_and_take_over_from_one_that_dies(guard: Guard) -> None:
    """A session is looked after by one watcher, which keeps it; another takes over when its lease is over."""
    for number in range(3):
        guard.watch(tool=f"tool_{number}")
    first, second = watchers(guard, 2)
    assert checked(first, NOW) == 3
    assert checked(second, NOW) == 0
    guard.watch(tool="a_new_one")
    assert checked(second, NOW) == 1
    assert checked(first, NOW + 9 * MINUTE) == 3
    assert checked(second, NOW + 18 * MINUTE) == 1
    assert checked(second, NOW + 19 * MINUTE) == 4


def test_a_watcher_that_stops_lets_go_at_once(guard: Guard) -> None:
    """What a watcher lets go of is taken over by the next cycle of another."""
    guard.watch()
    first, second = watchers(guard, 2)
    first.run(NOW)
    first.close()
    assert checked(second, NOW) == 1


async def test_the_loop_keeps_its_sessions_while_it_runs_and_lets_go_when_it_stops(guard: Guard) -> None:
    """`run` shares the sessions with other watchers, and a stopped loop leaves its own to them at once."""
    session_id = guard.monitor.start_monitoring("my_tool", datetime.now(UTC))
    (other,) = watchers(guard, 1)
    loop = AutonomousLoop(guard.monitor)
    running = asyncio.create_task(loop.run(handle_signals=False))
    while not guard.store.sessions.checks(session_id):
        await asyncio.sleep(0)
    assert checked(other) == 0
    loop.stop()
    await running
    assert checked(other) == 1


def test_without_a_lease_every_session_is_looked_after(guard: Guard) -> None:
    """A check that a person or a program asks for itself is made, whoever else watches."""
    guard.watch()
    (first,) = watchers(guard, 1)
    first.run(NOW)
    assert len(check_all(guard.monitor, now=NOW)) == 1


# --- files that cannot be written -----------------------------------------------------------------------------------


@contextlib.contextmanager
def full_disk(guard: Guard) -> Iterator[None]:
    """No file of this process may grow beyond some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def file_for_the_folder(guard: Guard) -> Iterator[None]:
    """Something that is no folder is in the place of the folder of tools."""
    folder = guard.registry.folder.path
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


@contextlib.contextmanager
def folder_for_the_file(guard: Guard) -> Iterator[None]:
    """A folder is in the place of the tool's file."""
    path = guard.registry.folder.file("my_tool")
    path.unlink()
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()


@pytest.mark.parametrize("trouble", [full_disk, file_for_the_folder, folder_for_the_file])
def test_a_restore_that_fails_is_recorded_told_and_made_later(
    guard: Guard, told: Told, dialect: str, trouble: Callable[[Guard], contextlib.AbstractContextManager[None]]
) -> None:
    """Whatever keeps the file from being written: the attempt is recorded with its reason, told once, the session stays
    active, nothing is half done, and when the trouble is over the next check carries it out."""
    if trouble is full_disk and dialect == "sqlite":
        pytest.skip("the database would be out of disk as well, which is a StoreFull")
    session_id = regressed(guard)
    with trouble(guard):
        for minutes in (0, 1, 3):
            assert check(guard, session_id, LATER + minutes * MINUTE)["rollback_performed"] is False
        rollback = journal(guard, session_id)
        assert (rollback.state, rollback.attempts) == ("failed", 3)
        assert str(guard.registry.folder.path) in (rollback.error or "")
        assert guard.session(session_id).active
        live = guard.store.versions.live("my_tool")
        assert live is not None
        assert live.version_number == 2
        assert guard.store.quarantine.in_force() == []
    assert told.kinds == ["rollback_failed"]
    assert check(guard, session_id, LATER + 7 * MINUTE)["rollback_performed"] is True
    assert (file(guard), told.kinds) == (code(1), ["rollback_failed", "rolled_back"])
    assert [entry.name for entry in guard.registry.folder.path.iterdir() if entry.name.startswith(".rollguard-")] == []
