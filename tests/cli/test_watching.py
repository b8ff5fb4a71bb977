"""That nobody watches is seen everywhere: in status, sessions and the doctor, as text and as JSON."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.store.schema import deployment_monitoring, watchers
from tests.cli.conftest import Shell

NOBODY = "Nobody watches: nothing is checked or rolled back. Start: rollguard watch"


@pytest.fixture
def watched(shell: Shell) -> Shell:
    """One deployment that is monitored."""
    shell.deploy(1)
    return shell


def _beat(shell: Shell, *, silent: bool = False) -> None:
    with ExecutionStore(f"sqlite:///{shell.folder}/rollguard.db") as store:
        (row,) = store.watchers.beat("w", host="web", pid=7, interval_seconds=300.0, checked=True, since=None)
        if silent:
            with store.database.write() as connection:
                connection.execute(sa.update(watchers).values(seen_at=row.as_of - timedelta(minutes=3)))


def test_nothing_to_watch(shell: Shell) -> None:
    """Without a monitored deployment nobody needs to watch."""
    assert "Nobody watches" not in shell.ok("status").out
    empty = {
        "watchers": [],
        "sessions": [],
        "silent": [],
        "in_flight": [],
        "rollouts": [],
        "rollbacks": [],
        "held_back": [],
    }
    assert shell.ok("status", "--json").json == {"coverage": "nothing_to_watch", **empty}


def test_nobody_watches(watched: Shell) -> None:
    """Without a watcher, each command that shows sessions says so."""
    assert NOBODY in watched.ok("status").out.splitlines()
    assert NOBODY in watched.ok("sessions").out.splitlines()
    assert watched.ok("status", "--json").json["coverage"] == "nobody"
    assert [session["coverage"] for session in watched.ok("sessions", "--json").json] == ["nobody"]
    assert "1 deployment is monitored, and no watcher is running" in watched.ok("doctor").out


def test_a_watcher_is_listed(watched: Shell) -> None:
    """A watcher is shown with its host, process, beginning and latest cycle, and nothing is missing."""
    _beat(watched)
    said = watched.ok("status").out
    assert "Nobody" not in said
    last = said.splitlines()[-1].split()
    assert (last[:2], last[-1]) == (["web", "7"], "watching")
    assert "Nobody" not in watched.ok("sessions").out
    (row,) = watched.ok("status", "--json").json["watchers"]
    assert (row["host"], row["pid"], row["state"], row["behind_seconds"]) == ("web", 7, "watching", 0.0)
    assert [session["coverage"] for session in watched.ok("sessions", "--json").json] == ["watched"]


def test_creeping_versions_are_shown(watched: Shell) -> None:
    """What was found of a session's versions is a line below the table, and in the JSON."""
    (session,) = watched.ok("status", "--json").json["sessions"]
    assert session["creeping"] is None
    with ExecutionStore(f"sqlite:///{watched.folder}/rollguard.db") as store, store.database.write() as connection:
        connection.execute(sa.update(deployment_monitoring).values(creeping="creeping: 15 points below version 1"))
    assert "my_tool: creeping: 15 points below version 1" in watched.ok("status").out.splitlines()
    assert watched.ok("status", "--json").json["sessions"][0]["creeping"] == "creeping: 15 points below version 1"


def test_a_silent_watcher_is_none(watched: Shell) -> None:
    """A watcher that gave no sign of life for a minute is shown as silent, and nobody watches."""
    _beat(watched, silent=True)
    said = watched.ok("status").out.splitlines()
    assert NOBODY in said
    assert said[-1].split()[-1] == "silent"


def test_single_cycles_watch(watched: Shell) -> None:
    """A cycle of a cron job watches for two intervals; that no watcher runs is said all the same."""
    watched.ok("watch", "--once")
    assert "No watcher is running. The last check was " in watched.ok("status").out
    assert watched.ok("status", "--json").json["coverage"] == "single_cycles"
