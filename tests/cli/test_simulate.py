"""`rollguard simulate`."""

from __future__ import annotations

import pytest

from rollguard.cli.scenarios import ready_made
from tests.cli.conftest import Shell

SMALL = "tools = 2\n[traffic]\ncalls_per_hour = 20\nbaseline_days = 1\nwatched_hours = 3\n[success]\nafter = 0.2\n"


def test_ready_made_scenarios_are_listed(empty: Shell) -> None:
    """Without a scenario, those that come with Rollguard are listed, each with what happens in it."""
    listed = empty.ok("simulate", "--json").json
    names = ["daily", "drop20", "low_traffic", "one_bad", "outage30", "retries", "steady"]
    assert [each["name"] for each in listed] == names
    said = " ".join(empty.ok("simulate").out.split())
    for scenario in ready_made().values():
        assert scenario.about
        assert scenario.about.split(";")[0].split(":")[0] in said


def test_a_file_is_played_by_both_rules(empty: Shell) -> None:
    """Both rules are tried on the same calls, and the same seed tells the same story."""
    file = empty.write("small.toml", SMALL)
    told = empty.ok("simulate", file, "--json").json
    assert [result["decision"] for result in told["results"]] == ["threshold", "evidence"]
    assert [result["rightly_rolled_back"] for result in told["results"]] == [2, 2]
    assert told == empty.ok("simulate", file, "--json").json
    assert told["scenario"] == "small"
    assert list(empty.folder.iterdir()) == [file]


def test_the_table_tells_how_soon(empty: Shell) -> None:
    """Where the new version is worse, the table tells how soon that was found; where it is not, there is no delay."""
    file = empty.write("small.toml", SMALL)
    assert "Half in" in empty.ok("simulate", file).out
    steady = empty.write("steady.toml", SMALL.partition("[success]")[0])
    assert "Half in" not in empty.ok("simulate", steady).out


def test_seed_and_runs(empty: Shell) -> None:
    """Another seed gives other calls, and more runs more deployments."""
    file = empty.write("small.toml", SMALL)
    told = empty.ok("simulate", file, "--seed", 9, "--runs", 3, "--decision", "evidence", "--json").json
    assert (told["seed"], told["runs"]) == (9, 3)
    assert [result["deployments"] for result in told["results"]] == [6]


@pytest.mark.parametrize(("least", "found"), [(12, 2), (1000, 0)])
def test_settings_are_tried(empty: Shell, least: int, found: int) -> None:
    """The rules are those of [monitor] in the settings, by the counts and through the monitor alike."""
    file = empty.write("small.toml", SMALL)
    empty.write("rollguard.toml", f"[monitor]\nmin_executions = {least}\n")
    words = ("simulate", file, "--decision", "threshold", "--json")
    results = [empty.ok(*words, *more).json["results"][0] for more in ((), ("--through-monitor",))]
    assert [result["rightly_rolled_back"] for result in results] == [found] * 2


def test_settings_decide_as_they_do_in_the_monitor(empty: Shell) -> None:
    """What is set of triggers changes what is found; what the counts cannot play is said."""
    file = empty.write("small.toml", SMALL)
    empty.write("rollguard.toml", '[monitor]\nfast_triggers = "off"\nmin_executions = 30\n')
    late = empty.ok("simulate", file, "--decision", "threshold", "--json").json["results"][0]
    empty.write("rollguard.toml", '[monitor]\nfast_triggers = "alone"\nmin_executions = 30\ncollapse_retries = 2.0\n')
    told = empty.ok("simulate", file, "--decision", "threshold", "--json")
    soon = told.json["results"][0]
    assert soon["median_calls"] < 30 <= late["median_calls"]
    assert soon["median_delay_seconds"] < late["median_delay_seconds"]
    assert "not played by the counts: collapse_retries" in told.err
