"""A backup is restored in the middle of a rollout: versions and rollouts get numbers that were given before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry, request
from tests.conftest import code


def test_a_rollout_with_the_number_of_a_lost_one(tmp_path: Path, sqlite_template: Path) -> None:
    """What a process knows of the lost rollout decides nothing: neither its code nor its requests' arms."""
    file, copy = tmp_path / "rollguard.db", tmp_path / "backup.db"
    file.write_bytes(sqlite_template.read_bytes())

    def served(registry: ToolRegistry) -> list[int]:
        found = []
        for number in range(40):
            with request(f"request {number}"):
                found.append(registry.call("my_tool"))
        return found

    with ExecutionStore(f"sqlite:///{file}") as store:
        registry = ToolRegistry(tmp_path / "tools", store=store)
        monitor = DeploymentMonitor(store, registry)
        registry.deploy("my_tool", code(1))
        connection = sqlite3.connect(file)
        connection.execute("VACUUM INTO ?", (str(copy),))
        connection.close()
        registry.deploy("my_tool", code(2), watch=monitor.watch("my_tool"), rollout=[0.5])
        lost = store.rollouts.recent()[0]
        first = served(registry)
        assert set(first) == {1, 2}
        copy.replace(file)
        assert registry.deploy("my_tool", code(3), watch=monitor.watch("my_tool"), rollout=[0.5]) == 2
        assert store.rollouts.recent()[0].rollout_id == lost.rollout_id
        then = served(registry)
        assert set(then) == {1, 3}
        assert [one == 1 for one in then] != [one == 1 for one in first]
        registry.close()
