"""Past deployments under other rules, on each database: when they would be rolled back, compared with what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollguard.errors import UnknownSession
from rollguard.evaluate.backtest import Compared, Deployment, backtest, false_alarms, summary
from rollguard.evaluate.exact import false_rollback
from rollguard.judge import Rules
from tests.conftest import NOW, Guard
from tests.watching import check_all, check_arrivals

EVERY = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LATER = NOW + 3 * DAY


def replayed(guard: Guard, rules: Rules | None = None, *, now: datetime = LATER, **more: object) -> list[Deployment]:
    """Return the backtest of all deployments, by default under the contract's rules."""
    return backtest(guard.store, lambda _tool: rules or Rules(), every=EVERY, now=now, **more)  # type: ignore[arg-type]


def monitored(guard: Guard, until: timedelta, *, arrivals: bool = False) -> datetime | None:
    """Let the monitor check as it would, and return when it rolled back."""
    step = MINUTE if arrivals else EVERY
    at = NOW
    while at < NOW + until:
        at += step
        scheduled = (at - NOW) % EVERY == timedelta()
        results = check_all(guard.monitor, now=at) if scheduled else check_arrivals(guard.monitor, ["my_tool"], now=at)
        if any(isinstance(result, dict) and result["rollback_performed"] for result in results):
            return at
    return None


def story(guard: Guard, successes: int, failures: int, hours: float = 2.0, **rules: object) -> int:
    """A tool at 95 % of 200 calls, and a new version of it under watch."""
    guard.deploy(1, at=NOW - 8 * DAY)
    guard.calls(190, 10, start=NOW - 7 * DAY, hours=100)
    guard.deploy(2)
    session_id = guard.watch(**rules)
    guard.calls(successes, failures, start=NOW + timedelta(seconds=20), hours=hours)
    return session_id


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"decision": "evidence", "fast_triggers": "off"},
        {"decision": "evidence"},
        {"fast_triggers": "alone"},
        {"baseline": "same_hours", "min_executions": 4},
        {"collapse_retries": 1.0, "min_executions": 20},
    ],
    ids=str,
)
def test_the_same_settings_decide_the_same(guard: Guard, rules: dict[str, object]) -> None:
    """Under the rules of its session, a deployment is rolled back in the same minute, on the same counts."""
    session_id = story(guard, 60, 30, **rules)
    arrivals = Rules(**rules).checks_every_arrival  # type: ignore[arg-type]
    at = monitored(guard, timedelta(hours=2), arrivals=arrivals)
    assert at is not None
    (found,) = replayed(guard, guard.session(session_id).rules)
    assert found.compared is Compared.SAME
    assert found.replayed.at is not None
    assert abs(found.replayed.at - at) <= MINUTE
    record = next(c for c in guard.store.sessions.checks(session_id) if c["needs_rollback"])["record"]
    assert (found.replayed.baseline.total, found.replayed.baseline.failures) == (
        record["baseline"]["total"],
        record["baseline"]["total"] - record["baseline"]["successes"],
    )
    assert found.replayed.current.total == record["current"]["total"]
    assert str(found.replayed.judgement.rollback_type) == record["rollback_type"]
    assert found.happened == "rolled_back"


def test_a_smaller_threshold_adds_rollbacks(guard: Guard) -> None:
    """A smaller threshold rolls back a deployment that was healthy."""
    story(guard, 88, 12)
    assert check_all(guard.monitor, now=NOW + timedelta(hours=25))[0]["session_status"] == "completed"  # type: ignore[index]
    (same,) = replayed(guard)
    assert (same.compared, same.happened, same.replayed.at) == (Compared.NEITHER, "healthy", None)
    (looser,) = replayed(guard, Rules(regression_threshold=0.05))
    assert looser.compared is Compared.ADDED
    assert looser.replayed.at is not None
    assert looser.replayed.judgement.reasons[0].endswith("≥ 5 (medium)")
    assert summary([same, looser])["added"] == 1


def test_what_ended_is_not_called_healthy(guard: Guard) -> None:
    """After a rollback it is unknown whether a stricter rule would have acted: its executions end there."""
    story(guard, 75, 25)
    at = monitored(guard, timedelta(hours=2))
    assert at is not None
    (stricter,) = replayed(guard, Rules(regression_threshold=0.9))
    assert stricter.compared is Compared.NOT_SEEN
    assert stricter.seen_until == at
    guard.calls(0, 5, start=at + timedelta(minutes=3), hours=0.1)  # of the version before: no longer ours
    assert replayed(guard, Rules(regression_threshold=0.9))[0].replayed.current == stricter.replayed.current


def test_a_rollback_that_would_not_be_made(guard: Guard) -> None:
    """A session that only observes continues, so a stricter rule is known not to act; the same rule acts again."""
    story(guard, 75, 25, mode="observe")
    monitored(guard, timedelta(hours=2))
    check_all(guard.monitor, now=NOW + timedelta(hours=25))
    (stricter,) = replayed(guard, Rules(regression_threshold=0.9))
    assert (stricter.compared, stricter.happened) == (Compared.MISSED, "observed")
    (as_it_was,) = replayed(guard)
    assert as_it_was.compared is Compared.SAME


def test_a_candidate_may_be_earlier_or_later(guard: Guard) -> None:
    """With fewer required calls a candidate acts earlier; with more, if the session continued, later."""
    story(guard, 50, 50, mode="observe", min_executions=30)
    monitored(guard, timedelta(hours=2))
    assert replayed(guard, Rules(min_executions=10))[0].compared is Compared.EARLIER
    assert replayed(guard, Rules(min_executions=60))[0].compared is Compared.LATER


def test_no_deployments(guard: Guard) -> None:
    """If there is nothing to replay, the error says so, with what was asked for."""
    with pytest.raises(UnknownSession, match="nothing to replay"):
        replayed(guard)
    story(guard, 1, 0)
    with pytest.raises(UnknownSession, match="other has no monitoring session"):
        replayed(guard, tool_name="other")
    with pytest.raises(UnknownSession, match="no deployment since 2026-03-02"):
        replayed(guard, since=NOW + DAY)
    assert len(replayed(guard, since=NOW, tool_name="my_tool")) == 1


def test_a_deployment_without_calls(guard: Guard) -> None:
    """No rule rolls back a deployment without any call."""
    guard.deploy(1)
    guard.watch()
    (found,) = replayed(guard)
    assert (found.compared, found.replayed.current.total) == (Compared.NEITHER, 0)
    assert false_alarms([found], lambda _tool: Rules(), every=EVERY) == []


def test_executions_that_are_no_longer_kept(guard: Guard) -> None:
    """Rollups are enough if executions were removed; triggers that need them are left out, and the result says so."""
    session_id = story(guard, 60, 30)
    at = monitored(guard, timedelta(hours=2))
    alone = Rules(fast_triggers="alone", regression_threshold=0.9)
    (before,) = replayed(guard)
    assert replayed(guard, alone)[0].replayed.triggers_known
    guard.store.retention.days = 1
    while not guard.store.tidy(now=NOW + 60 * DAY).finished:
        pass
    (after,) = replayed(guard, now=NOW + 60 * DAY)
    assert after.replayed.at is not None
    assert at is not None
    assert abs(after.replayed.at - at) <= EVERY
    assert after.replayed.baseline == before.replayed.baseline == guard.session(session_id).baseline
    (gone,) = replayed(guard, alone, now=NOW + 60 * DAY)
    assert not gone.replayed.triggers_known


def test_versions_that_are_named_need_no_executions(guard: Guard) -> None:
    """If calls name their version, removing executions changes nothing."""
    guard.deploy(1, at=NOW - 7 * DAY)
    guard.calls(190, 10, start=NOW - 6 * DAY, hours=100)
    guard.deploy(2, at=NOW + timedelta(seconds=20))
    guard.watch(at=NOW + timedelta(seconds=20))
    rows = [
        {"tool_name": "my_tool", "success": i % 2 == 0, "version_number": 2, "executed_at": NOW + i * MINUTE / 2}
        for i in range(1, 40)
    ]
    guard.store.store_tool_executions(rows)
    monitored(guard, timedelta(hours=1))
    (before,) = replayed(guard)
    guard.store.retention.days = 1
    while not guard.store.tidy(now=NOW + 60 * DAY).finished:
        pass
    (after,) = replayed(guard, now=NOW + 60 * DAY)
    assert (after.replayed.at, after.replayed.current) == (before.replayed.at, before.replayed.current)
    assert before.compared is Compared.SAME


def test_a_superseded_deployment_ends_with_the_next(guard: Guard) -> None:
    """Executions after the next deployment do not count for the first one."""
    story(guard, 20, 0, hours=0.5)
    guard.now = NOW + timedelta(hours=1)
    guard.deploy(3)
    guard.watch()
    guard.calls(0, 50, start=guard.now + MINUTE)
    newer, older = replayed(guard)
    assert (older.compared, older.happened) == (Compared.NOT_SEEN, "superseded")
    assert older.replayed.current.failures == 0
    assert newer.replayed.at is not None
    assert newer.compared is Compared.ADDED


def test_a_longer_session_has_other_same_hours(guard: Guard) -> None:
    """A candidate with a longer session compares with the hours of its own session, not with the stored baseline."""
    guard.deploy(1, at=NOW - 20 * DAY)
    guard.calls(48, 0, start=NOW - 7 * DAY, hours=24)
    guard.calls(20, 28, start=NOW - 6 * DAY, hours=24)
    guard.deploy(2)
    rules = Rules(decision="evidence", baseline="same_hours")
    session_id = guard.watch(decision="evidence", baseline="same_hours")
    check_all(guard.monitor, now=NOW + timedelta(hours=1))
    assert guard.session(session_id).baseline is not None
    (same,) = replayed(guard, rules)
    (longer,) = replayed(guard, replace(rules, monitoring_window_hours=48))
    assert [(d.replayed.baseline.total, d.replayed.baseline.failures) for d in (same, longer)] == [(48, 0), (96, 28)]


def test_two_bad_deployments_are_replayed(guard: Guard) -> None:
    """Another bad deployment at the same time is known in a replay too, and explains nothing."""
    story(guard, 60, 60)
    guard.calls(600, 6, start=NOW - 6 * DAY, hours=100, tool="other")
    guard.deploy(1, tool="other", at=NOW - DAY)
    guard.deploy(2, tool="other", at=NOW)
    guard.monitor.cancel_monitoring(guard.watch(tool="other", at=NOW), now=NOW + MINUTE)
    guard.calls(5, 115, start=NOW, hours=2, tool="other")
    (found,) = replayed(guard, Rules(decision="evidence"), tool_name="my_tool")
    assert found.replayed.at is not None
    assert found.replayed.held_since is None


def test_a_rollback_by_hand_is_no_decision_of_a_rule(guard: Guard) -> None:
    """A person's rollback ends the known executions, and is not a decision of a rule."""
    story(guard, 20, 0)
    guard.monitor.roll_back("my_tool", reason="wrong sums", now=NOW + timedelta(hours=1))
    (found,) = replayed(guard)
    assert found.decided_at is None
    assert found.compared is Compared.NOT_SEEN
    assert found.seen_until == NOW + timedelta(hours=1)


def test_an_outage_holds_the_candidate(guard: Guard) -> None:
    """If another tool failed in the same minutes, a candidate that holds waits as the monitor would have."""
    story(guard, 60, 60, hours=0.5)
    guard.calls(600, 6, start=NOW - 6 * DAY, hours=100, tool="other")
    guard.calls(5, 115, start=NOW, hours=0.5, tool="other")
    (held,) = replayed(guard, Rules(decision="evidence", monitoring_window_hours=1))
    assert (held.replayed.at, held.replayed.judgement.needs_rollback) == (None, True)
    assert held.replayed.held_since is not None
    (acted,) = replayed(guard, Rules(decision="evidence", monitoring_window_hours=1, hold_on_external=False))
    assert acted.replayed.at == held.replayed.held_since


def test_slowdowns_are_replayed(guard: Guard) -> None:
    """A candidate that rolls back slow versions reads durations as well."""
    guard.deploy(1, at=NOW - 7 * DAY)
    guard.calls(200, 0, start=NOW - 6 * DAY, hours=100)
    guard.deploy(2)
    guard.watch()
    guard.calls(60, 0, start=NOW, hours=2, ms=100.0)
    (found,) = replayed(guard, Rules(rollback_on_slowdown=True))
    assert found.replayed.judgement.rollback_type == "slowdown"
    assert replayed(guard)[0].replayed.at is None


def test_false_alarms_are_those_of_the_tool(guard: Guard) -> None:
    """The risk is exact at the tool's own baseline and volume, for the candidate and for the present settings."""
    story(guard, 190, 10, hours=24)
    candidate = Rules(decision="evidence", fast_triggers="off")
    present = replace(candidate, decision="threshold")
    deployments = replayed(guard, candidate)
    (risk,) = false_alarms(deployments, lambda _tool: present, every=EVERY)
    assert (risk.failure_rate, risk.baseline_calls, risk.deployments) == (0.05, 200, 1)
    assert risk.candidate.exact
    exact = false_rollback(candidate, 200, 0.05, 200)
    assert risk.candidate.probability == pytest.approx(exact, abs=2e-6)
    exact = false_rollback(present, 200, 0.05, 200)
    assert risk.present.probability == pytest.approx(exact, abs=2e-6)


def test_progress_is_reported(guard: Guard) -> None:
    """The share that is done is reported, up to 1."""
    story(guard, 20, 0)
    shares: list[float] = []
    advance: Callable[[float], object] = shares.append
    deployments = replayed(guard, advance=advance)
    false_alarms(deployments, lambda _tool: Rules(), every=EVERY, advance=advance)
    assert shares == [1.0, 1.0]
