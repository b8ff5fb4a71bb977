"""A tool that nobody calls any more is reported, once, and nothing is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.judge.silence import CallsByHour, silence
from tests.conftest import NOW, Guard
from tests.monitor.helpers import Told

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


def hours(*numbers: int) -> CallsByHour:
    """Five calls in each of these hours, as often as it stands in the list."""
    return CallsByHour({START + number * HOUR: 5 * numbers.count(number) for number in numbers})


@pytest.mark.parametrize(("after", "found"), [(1.9, False), (2.1, True)])
def test_alone_by_time(after: float, found: bool) -> None:
    """A gap longer than every one before is a silence; the gaps before are taken as long as they can have been."""
    own = hours(*range(20))
    last = START + 19 * HOUR
    silent = silence(last, own, own, last + after * HOUR, 0.05)
    assert (silent is not None) == found
    if silent is not None:
        assert (silent.by, silent.gaps, silent.longest, silent.chance) == ("time", 19, 2.0, 0.05)
        assert "2.1 hours without a call, at most 2 in 19 gaps before" in silent.sentence


def test_too_few_gaps() -> None:
    """One gap among fewer than 1/alpha proves nothing."""
    assert silence(START + 18 * HOUR, hours(*range(19)), hours(*range(19)), START + 999 * HOUR, 0.05) is None
    assert silence(START, hours(0), hours(0), START + 999 * HOUR, 0.05) is None


def test_a_night_is_no_silence() -> None:
    """Beside other tools a gap is measured by their calls: a night in which nobody calls anything is none."""
    own, last = hours(*range(20)), START + 19 * HOUR
    every = hours(*range(20), *range(20))
    assert silence(last, own, every, last + 12 * HOUR, 0.05) is None
    busy = hours(*range(20), *range(20), *range(20, 30))
    silent = silence(last, own, busy, last + 12 * HOUR, 0.05)
    assert silent is not None
    assert (silent.by, silent.longest, silent.gap) == ("others", 10.0, 50.0)
    assert "50 calls of other tools without a call" in silent.sentence


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def monitor(store: ExecutionStore, registry: ToolRegistry, told: Told) -> DeploymentMonitor:
    return DeploymentMonitor(execution_store=store, tool_registry=registry, notifiers=[told])


@pytest.mark.parametrize("beside", [False, True])
def test_a_silent_tool_is_reported_once(guard: Guard, told: Told, *, beside: bool) -> None:
    """The report, the stored check and one notification say that nobody calls the tool; it is not rolled back."""
    guard.deploy(1, at=NOW - timedelta(days=3))
    guard.deploy(2, at=NOW)
    guard.calls(48, 0, start=NOW - 24 * HOUR, hours=24)
    if beside:
        guard.calls(96, 0, start=NOW - 24 * HOUR, hours=48, tool="other")
    session_id = guard.watch(at=NOW)
    early = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + 0.5 * HOUR)
    assert early["silence"] is None
    for hour in (8, 9, 10):
        report = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + hour * HOUR)
        assert report["silence"]["by"] == ("others" if beside else "time")
        assert not report["rollback_performed"]
    assert told.kinds == ["silent"]
    assert "without a call" in told.events[0].reasons[0]
    guard.calls(1, 0, start=NOW + 11 * HOUR)
    assert guard.monitor.check_health("my_tool", session_id, now=NOW + 11.5 * HOUR)["silence"] is None


def test_the_calls_of_a_quiet_tool_are_read_once_an_hour(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its next call they stay the same, so a check every few minutes does not read them each time."""
    guard.deploy(1, at=NOW - timedelta(days=3))
    guard.deploy(2, at=NOW)
    guard.calls(48, 0, start=NOW - 24 * HOUR, hours=24)
    session_id = guard.watch(at=NOW)
    read, by_hour = [], guard.store.last_calls.by_hour
    monkeypatch.setattr(
        guard.store.last_calls, "by_hour", lambda names, start: read.append(names) or by_hour(names, start)
    )

    def silent(after: float) -> bool:
        report = guard.monitor.auto_rollback_if_needed("my_tool", session_id, now=NOW + after * HOUR)
        return report["silence"] is not None

    assert [silent(8.1), silent(8.2), silent(8.3)] == [True, True, True]
    assert len(read) == 1
    assert silent(9.1)
    assert len(read) == 2
    guard.calls(1, 0, start=NOW + 9.2 * HOUR)
    assert [silent(10.3), silent(25)] == [False, True]
    assert len(read) == 4
