"""Scenarios through the real store, registry and monitor."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.errors import InvalidSetting
from rollguard.evaluate.scenario import Scenario
from rollguard.evaluate.simulate_counts import Act, play
from rollguard.evaluate.simulator import overrides_of, through_monitor
from rollguard.judge import Rules

SMALL = {"tools": 3, "traffic": {"calls_per_hour": 40.0, "baseline_days": 1.0, "watched_hours": 3}}


def scenario(**values: Any) -> Scenario:
    return Scenario.from_mapping({**SMALL, **values}, "test")


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"decision": "evidence"},
        {"fast_triggers": "off"},
        {"decision": "evidence", "rollback_on_slowdown": True, "alpha": 0.01},
        {"fast_triggers": "alone", "caller_errors": ("ToolError",)},
    ],
    ids=str,
)
@pytest.mark.parametrize("after", [None, 0.7, 0.3])
def test_the_monitor_decides_as_the_counts_do(rules: dict[str, Any], after: float | None) -> None:
    """If only a tool's own counts matter, the monitor rolls back at the same check after the same calls."""
    played = scenario(changed_tools=1, success={"before": 0.9, "after": after})
    tried = Rules(**rules)
    by_counts = list(play(played, tried, runs=1, every=600.0))
    assert through_monitor(played, overrides_of(tried), every=600.0) == by_counts
    assert [act is not None for act in by_counts] == [after is not None and not tried.caller_errors, False, False]


def test_progress_is_reported() -> None:
    """The share of the time that has passed is reported after each check."""
    shares: list[float] = []
    assert through_monitor(scenario(), {}, every=3600.0, advance=shares.append) == [None] * 3
    assert shares == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_the_old_version_is_called_after_a_rollback() -> None:
    """After a rollback the old version is called, with the old success rate: it is not rolled back again."""
    found = through_monitor(scenario(success={"after": 0.0}), {}, every=1800.0)
    assert found == [Act(1800.0, act.calls if act else 0) for act in found]


def test_unknown_rules_are_refused() -> None:
    """An unknown rule is refused by its name."""
    with pytest.raises(InvalidSetting, match="colour"):
        through_monitor(scenario(), {"colour": 1})
