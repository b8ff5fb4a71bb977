"""What only reads changes nothing: neither the database nor the folder of tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.app import Rollguard
from tests.cli.conftest import Shell
from tests.conftest import code

COMMANDS = {
    "tools": ("tools",),
    "status": ("status",),
    "sessions": ("sessions",),
    "history": ("history", "my_tool"),
    "versions": ("versions", "my_tool"),
    "show": ("show", "my_tool", "1"),
    "diff": ("diff", "my_tool", "1", "2"),
    "rollbacks": ("rollbacks",),
    "quarantine": ("quarantine",),
    "explain": ("explain", "1"),
    "stability": ("stability",),
    "backtest": ("backtest",),
}
CALLS: dict[str, Callable[[Rollguard], object]] = {
    "get_tool": lambda guard: guard.registry.get_tool("my_tool"),
    "get_all_tools": lambda guard: guard.registry.get_all_tools(),
    "get_tool_definitions": lambda guard: guard.registry.get_tool_definitions(),
    "problems": lambda guard: guard.registry.problems,
    "changes": lambda guard: guard.registry.changes("my_tool", code(9)),
    "get_active_sessions": lambda guard: guard.monitor.get_active_sessions(),
    "get_session": lambda guard: guard.monitor.get_session(1),
    "explain": lambda guard: guard.monitor.explain(1),
    "version_manager": lambda guard: guard.versions.get_version_history("my_tool"),
    "compare_versions": lambda guard: guard.versions.compare_versions("my_tool", 1, 2),
    "live_of_all": lambda guard: guard.store.versions.live_of_all(),
    "tool_names": lambda guard: guard.store.executions.tool_names(),
    "reports": lambda guard: guard.store.reports.deployment_stability(),
    "outbox": lambda guard: guard.store.outbox.failing(),
}
WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|CREATE|DROP|ALTER)\b", re.IGNORECASE)


@pytest.fixture
def used(shell_on: Shell, url: str) -> Shell:
    """A rollback, a deployment under watch, a file without a version, one edited by hand, many calls to aggregate."""
    shell_on.deploy(1)
    shell_on.calls(20, 0)
    shell_on.deploy(2)
    shell_on.calls(5, 15)
    shell_on.ok("watch", "--once")
    shell_on.deploy(3)
    shell_on.calls(3, 1)
    shell_on.write("tools/my_tool.py", code(7))
    shell_on.write("tools/unknown.py", code(1, "unknown"))
    shell_on.write("tools/.rollguard.generation", "12345678")
    another_program = sa.text("""
    WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < 599)
    INSERT INTO tool_executions (tool_name, success, request_id) SELECT 'my_tool', TRUE, 'order' FROM numbers""")
    with ExecutionStore(url) as store, store.database.write() as connection:
        connection.execute(another_program)
    return shell_on


@pytest.fixture
def written() -> Iterator[list[str]]:
    """The statements since the fixture was asked for that write."""
    statements: list[str] = []

    def keep(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if WRITES.search(re.sub(r"'[^']*'", "", statement)):
            statements.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", keep)
    yield statements
    sa.event.remove(sa.Engine, "before_cursor_execute", keep)


def everything(url: str, folder: Path, *, without: str = "") -> dict[str, Any]:
    """Every row of the database and every file of the folder; not those in a folder of the name `without`."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        rows: dict[str, Any] = {
            name: sorted(map(str, connection.execute(sa.text(f"SELECT * FROM {name}"))))
            for name in sa.inspect(connection).get_table_names()
        }
    engine.dispose()
    files = [path for path in folder.rglob("*") if path.is_file() and without not in path.parts]
    return {**rows, "files": {str(path): path.read_bytes() for path in files}}


def test_reading_commands(used: Shell, url: str, written: list[str]) -> None:
    """Commands that list and show write nothing, and adopt no file."""
    before = everything(url, used.folder / "tools")
    written.clear()
    for name, words in COMMANDS.items():
        used.ok(*words)
        assert (name, written) == (name, [])
        assert everything(url, used.folder / "tools") == before, name


def test_the_doctor(used: Shell, url: str) -> None:
    """The doctor tries whether the database can be written, and changes nothing."""
    before = everything(url, used.folder / "tools")
    assert used.run("doctor").exit_code in (0, 1)
    assert everything(url, used.folder / "tools") == before


def test_reading_calls(used: Shell, url: str, written: list[str]) -> None:
    """What a program asks the registry, the monitor and the store for writes nothing."""
    before = everything(url, used.folder / "tools")
    with Rollguard.from_settings() as guard:
        assert everything(url, used.folder / "tools") != before  # opened to serve, it adopts
        used.write("tools/later.py", code(1, "later"))
        before = everything(url, used.folder / "tools", without="loads")  # it may note which code loads here
        written.clear()
        for name, ask in CALLS.items():
            ask(guard)
            assert (name, written) == (name, [])
        assert "later" in guard.registry.get_all_tools()
        assert everything(url, used.folder / "tools", without="loads") == before
