"""`ToolVersionManager`: any version can be listed, compared and restored, not only the last."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ToolVersionManager
from rollguard.errors import (
    BreakingChange,
    InvalidInput,
    NoEarlierVersion,
    RollbackRefused,
    RollguardError,
    ToolLoadError,
    UnknownTool,
    UnknownVersion,
)
from rollguard.model.text_diff import unified_diff
from rollguard.store.versions import versions as stored
from tests.conftest import NOW, Guard, code

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OLD = NOW - 400 * DAY
PLAIN = "def my_tool(x, y=0):\n    return x + y\n"
LESS = "def my_tool(x):\n    return x\n"


@pytest.fixture
def versions(guard: Guard) -> ToolVersionManager:
    """The versions of the guard's tools."""
    return ToolVersionManager(guard.store, guard.registry)


def served(guard: Guard) -> bytes | None:
    return guard.registry.folder.read("my_tool")


# --- create_version --------------------------------------------------------------------------------------------------


def test_a_created_version_is_kept_and_not_live(guard: Guard, versions: ToolVersionManager) -> None:
    """Code is stored as a version with its author, reason and parent; the live version and its file do not change."""
    guard.deploy(1)
    before = served(guard)
    made = versions.create_version("my_tool", code(2), kind="bugfix", created_by="ada", reason="a candidate")
    assert (made.version_number, made.kind, made.created_by, made.reason) == (2, "bugfix", "ada", "a candidate")
    assert (made.parent_version, made.is_live, made.times_deployed) == (1, False, 0)
    assert made.sha256 == stored.digest(made.code)
    assert served(guard) == before
    current = versions.get_current_version("my_tool")
    assert current is not None
    assert (current.version_number, current.is_live) == (1, True)


def test_identical_code_is_one_version(guard: Guard, versions: ToolVersionManager) -> None:
    """Code that is already stored is the existing version, unchanged."""
    guard.deploy(1)
    first = versions.create_version("my_tool", code(2), reason="first")
    assert versions.create_version("my_tool", code(2).encode(), reason="second", kind="bugfix") == first
    assert len(versions.get_version_history("my_tool")) == 2


def test_the_first_version_of_a_tool_without_a_file(guard: Guard, versions: ToolVersionManager) -> None:
    """A tool may have a version before it is ever deployed; deploying that code makes it live."""
    made = versions.create_version("my_tool", code(1))
    assert (made.kind, made.parent_version, served(guard)) == ("initial", None, None)
    assert versions.get_current_version("my_tool") is None
    assert guard.registry.deploy("my_tool", code(1)) == 1
    assert guard.registry.call("my_tool", x=1) == 2


def test_a_parent_can_be_named(guard: Guard, versions: ToolVersionManager) -> None:
    """The parent of a version may be another version than the live one."""
    guard.deploy(1)
    guard.deploy(2)
    assert versions.create_version("my_tool", code(3), parent_version=1).parent_version == 1
    assert versions.create_version("my_tool", code(4)).parent_version == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"code": "def my_tool(:"}, ToolLoadError),
        ({"code": "x = 1"}, ToolLoadError),
        ({"code": code(2), "kind": "better"}, InvalidInput),
        ({"code": code(2), "parent_version": 9}, UnknownVersion),
        ({"code": code(2), "created_by": ""}, InvalidInput),
        ({"code": 5}, InvalidInput),
    ],
)
def test_what_cannot_be_a_version_is_refused(
    guard: Guard, versions: ToolVersionManager, arguments: dict[str, Any], error: type[RollguardError]
) -> None:
    """Code that no rollback could restore, and invalid values, are refused, and nothing is stored."""
    guard.deploy(1)
    with pytest.raises(error):
        versions.create_version("my_tool", **arguments)
    assert [v.version_number for v in versions.get_version_history("my_tool")] == [1]


@pytest.mark.parametrize("kind", stored.KINDS)
def test_every_kind_is_kept(versions: ToolVersionManager, kind: str) -> None:
    """A version may have each kind."""
    assert versions.create_version("my_tool", code(1), kind=kind).kind == kind


# --- restoring -------------------------------------------------------------------------------------------------------


def test_any_version_can_be_restored(guard: Guard, versions: ToolVersionManager) -> None:
    """Every version can be restored, also one that was rolled back or never live, byte for byte."""
    for number in (1, 2, 3):
        guard.deploy(number, at=OLD + number * HOUR)
    versions.create_version("my_tool", code(4))
    for number in (1, 3, 4, 2):
        rollback = versions.rollback_to_version("my_tool", number, reason="to see it", requested_by="ada", now=NOW)
        assert (rollback.state, rollback.to_version, rollback.requested_by) == ("finished", number, "ada")
        assert served(guard) == code(number).encode()
        assert guard.registry.call("my_tool", x=0) == number
    assert [d.kind for d in versions.get_deployments("my_tool")] == ["rollback"] * 4 + ["deployment"] * 3
    assert len(versions.get_version_history("my_tool")) == 4


def test_what_cannot_be_restored(guard: Guard, versions: ToolVersionManager) -> None:
    """The live version, an unknown one, and the only one are refused; a tool without a deployment is unknown."""
    with pytest.raises(UnknownTool):
        versions.rollback_to_version("my_tool", 1, reason="r")
    guard.deploy(1)
    with pytest.raises(RollbackRefused, match="already live"):
        versions.rollback_to_version("my_tool", 1, reason="r")
    with pytest.raises(UnknownVersion, match="it has 1"):
        versions.rollback_to_version("my_tool", 2, reason="r")
    with pytest.raises(NoEarlierVersion):
        guard.monitor.roll_back("my_tool", reason="r")


def test_retention_keeps_every_version_and_the_way_back(guard: Guard, versions: ToolVersionManager) -> None:
    """When every execution was removed, the history, its metrics and the way back to any version remain."""
    guard.deploy(1, at=OLD)
    guard.deploy(2, at=OLD + DAY)
    session = guard.watch(at=OLD + DAY)
    guard.calls(90, 10, start=OLD, hours=20)
    guard.calls(5, 15, start=OLD + DAY, hours=1)
    assert guard.monitor.auto_rollback_if_needed("my_tool", session, now=OLD + DAY + 2 * HOUR)["rollback_performed"]
    versions.create_version("my_tool", code(3))
    tables = ("tool_versions", "tool_deployments", "deployment_monitoring", "deployment_rollbacks")

    def kept() -> list[Any]:
        with guard.store.database.read() as connection:
            return [connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1")).all() for table in tables]

    before, history = kept(), versions.get_version_history("my_tool")
    assert {v.version_number: (v.executions, v.successes) for v in history} == {1: (100, 90), 2: (20, 5), 3: (0, 0)}
    while not guard.store.tidy(now=NOW).finished:
        pass
    with guard.store.database.read() as connection:
        assert connection.execute(sa.text("SELECT COUNT(*) FROM tool_executions")).scalar_one() <= 1
    assert kept() == before
    assert versions.get_version_history("my_tool") == history
    guard.store.quarantine.lift("my_tool", 2, by="ada", now=NOW)
    for number in (3, 2, 1):
        versions.rollback_to_version("my_tool", number, reason="r", now=NOW)
        assert served(guard) == code(number).encode()


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_are_refreshed(guard: Guard, versions: ToolVersionManager) -> None:
    """Calls count for the version that ran; a repeated refresh changes nothing, and late calls count."""
    guard.deploy(1)
    assert versions.update_version_metrics("my_tool")[0].executions == 0
    for _ in range(3):
        guard.registry.call("my_tool", x=1)
    with pytest.raises(TypeError):
        guard.registry.call("my_tool", y=1)
    guard.registry.recorder.flush()
    guard.deploy(2)
    for _ in range(2):
        new, old = versions.update_version_metrics("my_tool")
        assert (old.executions, old.successes, old.success_rate) == (4, 3, 0.75)
        assert (new.executions, new.success_rate, new.avg_duration_ms) == (0, None, None)
    guard.store.store_tool_execution(tool_name="my_tool", success=True, version_number=1, executed_at=OLD)
    assert [v.executions for v in versions.update_version_metrics("my_tool", 1)] == [5]
    assert versions.update_version_metrics("nothere") == []
    with pytest.raises(UnknownVersion):
        versions.update_version_metrics("my_tool", 9)


# --- comparing -------------------------------------------------------------------------------------------------------


def test_two_versions_side_by_side(guard: Guard, versions: ToolVersionManager) -> None:
    """The diff with its lines counted, the breaking changes, and the metrics of both versions."""
    guard.registry.deploy("my_tool", PLAIN, deployed_at=OLD)
    guard.calls(9, 1, start=OLD, ms=10.0)
    guard.registry.deploy("my_tool", LESS, deployed_at=OLD + DAY)
    guard.calls(8, 2, start=OLD + DAY, ms=15.0)
    found = versions.compare_versions("my_tool", 1, 2)
    assert found.diff == (
        "--- my_tool, version 1\n+++ my_tool, version 2\n@@ -1,2 +1,2 @@\n"
        "-def my_tool(x, y=0):\n-    return x + y\n+def my_tool(x):\n+    return x\n"
    )
    assert (found.lines_added, found.lines_removed) == (2, 2)
    assert [(c.kind, c.parameter) for c in found.breaking] == [("parameter_removed", "y")]
    assert (found.before.success_rate, found.after.success_rate) == (0.9, 0.8)
    assert found.success_rate_change == pytest.approx(-0.1)
    assert found.duration_change == pytest.approx(0.5)
    back = versions.compare_versions("my_tool", 2, 1)
    assert (back.breaking, [c.kind for c in back.changes]) == ((), ["parameter_added"])
    assert (back.success_rate_change, back.duration_change) == (pytest.approx(0.1), pytest.approx(-1 / 3))


def test_a_version_beside_itself(guard: Guard, versions: ToolVersionManager) -> None:
    """A version compared with itself has no differences; without calls there is no rate."""
    guard.deploy(1)
    found = versions.compare_versions("my_tool", 1, 1)
    assert (found.diff, found.lines_added, found.lines_removed, found.changes) == ("", 0, 0, ())
    assert (found.success_rate_change, found.duration_change) == (None, None)
    with pytest.raises(UnknownVersion):
        versions.compare_versions("my_tool", 1, 2)


def test_a_diff_shows_every_byte() -> None:
    """Line endings, a missing line feed at the end and bytes that are not text appear in a diff."""
    assert unified_diff(b"a\n", b"a\r\n", "1", "2").text == "--- 1\n+++ 2\n@@ -1 +1 @@\n-a\n+a\r\n"
    assert unified_diff(b"a\n", b"a", "1", "2").text == (
        "--- 1\n+++ 2\n@@ -1 +1 @@\n-a\n+a\n\\ No newline at end of file\n"
    )
    assert "+\\xff" in unified_diff(b"a\x0cb\n", b"\xff\n", "1", "2").text
    assert unified_diff(b"", b"", "1", "2") == ("", 0, 0)
    assert unified_diff(b"--x\n", b"++x\n", "1", "2")[1:] == (1, 1)


# --- deploying breaking changes --------------------------------------------------------------------------------------


def test_breaking_changes_are_warned_of(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    """A deployment that breaks callers is made, and each breaking change is a warning."""
    guard.registry.deploy("my_tool", PLAIN)
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING, "rollguard"):
        assert guard.registry.deploy("my_tool", LESS) == 2
    assert caplog.messages == ["my_tool: this breaks callers: my_tool: parameter y is gone: a call that gives it fails"]
    assert guard.registry.deploy("my_tool", PLAIN, strict=True) == 1


def test_strict_refuses_them_and_changes_nothing(guard: Guard, versions: ToolVersionManager) -> None:
    """A strict deployment of code that breaks callers changes neither file, versions, live pointer nor session."""
    guard.registry.deploy("my_tool", PLAIN)
    session = guard.watch()
    with pytest.raises(BreakingChange, match="parameter y is gone"):
        guard.registry.deploy("my_tool", LESS, strict=True)
    assert served(guard) == PLAIN.encode()
    assert [v.version_number for v in versions.get_version_history("my_tool")] == [1]
    assert len(versions.get_deployments("my_tool")) == 1
    assert guard.session(session).active
    assert guard.registry.deploy("my_tool", PLAIN + "# a comment\n", strict=True) == 2


def test_what_is_served_is_what_callers_use(guard: Guard) -> None:
    """A deployment is compared with the file as it was edited by hand; a deleted file counts as its version."""
    guard.registry.deploy("my_tool", PLAIN)
    guard.registry.folder.swap("my_tool", LESS.encode())
    assert guard.registry.deploy("my_tool", LESS + "# a comment\n", strict=True) == 3
    guard.registry.folder.remove("my_tool")
    with pytest.raises(BreakingChange):
        guard.registry.deploy("my_tool", "def my_tool():\n    return 1\n", strict=True)
    assert served(guard) is None
    assert guard.registry.changes("other", "def other(): ...") == ()
