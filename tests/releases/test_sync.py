"""`sync` takes a folder as git, CI, rsync or an image left it, and makes one release of what changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rollguard import Rollguard
from rollguard.errors import ReleaseConflict
from rollguard.settings import NotifySettings, Settings
from tests.conftest import code

ONE, TWO = "alpha", "beta"


def opened(url: str, folder: Path) -> Rollguard:
    """The system, as a process opens it."""
    return Rollguard(Settings(database=url, tools_dir=folder, follow=False, notify=NotifySettings(log=False)))


def fill(folder: Path, **versions: int) -> None:
    """Write tools into a folder, as git does."""
    folder.mkdir(exist_ok=True)
    for name, version in versions.items():
        (folder / f"{name}.py").write_text(code(version, name))


@pytest.fixture
def guard(url: str, tools_dir: Path, tmp_path: Path) -> Iterator[Rollguard]:
    """A folder of two tools, which a checkout was synced into once."""
    fill(tmp_path / "checkout", alpha=1, beta=1)
    with opened(url, tools_dir) as one:
        one.sync(tmp_path / "checkout", ref="r1")
        yield one


def live(guard: Rollguard, *tools: str) -> list[int | None]:
    found = [guard.store.versions.live(tool) for tool in tools or (ONE, TWO)]
    return [one and one.version_number for one in found]


def test_what_changed_is_one_release(guard: Rollguard, tmp_path: Path) -> None:
    """A sync releases what changed, under its label, monitored; a second one changes nothing; a dry run neither."""
    fill(tmp_path / "checkout", alpha=2, gamma=1)
    (tmp_path / "checkout" / "helpers.py").write_text("LIMIT = 3\n")
    dry = guard.sync(tmp_path / "checkout", ref="r2", dry_run=True)
    assert (dry.plan.changed, dry.plan.added, dry.released, live(guard)) == ((ONE,), ("gamma",), None, [1, 1])
    done = guard.sync(tmp_path / "checkout", ref="r2")
    assert done.released is not None
    assert (done.released.new, done.released.changed, done.released.added) == (True, (ONE, "gamma"), ("gamma",))
    assert set(done.released.sessions) == {ONE, "gamma"}
    assert live(guard, ONE, TWO, "gamma") == [2, 1, 1]
    assert guard.registry.call(ONE, x=1) == 3
    again = guard.sync(tmp_path / "checkout", ref="r2")
    assert again.released is not None
    assert (again.released.new, guard.sync(tmp_path / "checkout", ref="r3").released) == (False, None)
    assert guard.versions.get_version(TWO, "r2").version_number == 1


def test_a_live_version_that_is_not_in_the_folder_is_not_lost(guard: Rollguard, tmp_path: Path) -> None:
    """What somebody deployed since the last sync stops a sync, unless it is said which of the two wins."""
    guard.deploy(ONE, code(7, ONE), created_by="improver")
    fill(tmp_path / "checkout", beta=2)
    for wins, expected in ((None, [2, 1]), ("live", [2, 2]), ("folder", [1, 2])):
        if wins is None:
            with pytest.raises(ReleaseConflict, match="version 2 of alpha, deployed by improver, is live and not in"):
                guard.sync(tmp_path / "checkout", ref="r2")
        else:
            guard.sync(tmp_path / "checkout", ref=f"r2-{wins}", wins=wins)  # type: ignore[arg-type]
        assert live(guard) == expected


def test_edits_that_were_adopted_meanwhile_are_part_of_it(url: str, tools_dir: Path) -> None:
    """In place, what `git pull` changed or added, and calls made live already, is released, and keeps its session."""
    fill(tools_dir, alpha=1, beta=1)
    with opened(url, tools_dir) as guard:
        guard.sync(ref="r1")
        assert guard.sync(ref="r1", dry_run=True).plan.unchanged == (ONE, TWO)
        guard.registry.call(ONE, x=1)
        fill(tools_dir, alpha=2, beta=2, gamma=1)
        guard.registry.get_tool(ONE)
        guard.registry.refresh()
        assert guard.registry.call(ONE, x=1) == 3
        (session,) = guard.monitor.get_active_sessions()
        done = guard.sync(ref="r2")
        assert (done.plan.changed, done.plan.edits) == ((TWO,), (ONE, "gamma"))
        assert done.released is not None
        assert guard.sync(ref="r2", dry_run=True).plan.unchanged == (ONE, TWO, "gamma")
        assert (done.released.changed, done.released.added) == ((ONE, TWO, "gamma"), ("gamma",))
        assert done.released.sessions[ONE] == session.session_id
        rules = {s.tool_name: s.rules for s in guard.monitor.get_active_sessions()}
        assert {(r.decision, round(r.alpha, 4)) for r in rules.values()} == {("evidence", 0.0167)}
        rollbacks, _left = guard.monitor.roll_back_release("r2", reason="r")
        assert [(r.tool_name, r.to_version) for r in rollbacks] == [(ONE, 1), (TWO, 1), ("gamma", None)]


def test_a_release_that_was_rolled_back_does_not_come_back(guard: Rollguard, tmp_path: Path) -> None:
    """CI that syncs the same revision again changes nothing; the next revision releases all but what is quarantined."""
    now = datetime.now(UTC)
    guard.store.store_tool_executions(
        {"tool_name": ONE, "success": True, "executed_at": now - timedelta(hours=1)} for _ in range(100)
    )
    fill(tmp_path / "checkout", alpha=2, beta=2)
    done = guard.sync(tmp_path / "checkout", ref="r2").released
    assert done is not None
    guard.store.store_tool_executions(
        {"tool_name": ONE, "success": False, "executed_at": now + timedelta(minutes=1)} for _ in range(60)
    )
    later = now + timedelta(hours=2)
    assert guard.monitor.auto_rollback_if_needed(ONE, done.sessions[ONE], now=later)["rollback_performed"]
    again = guard.sync(tmp_path / "checkout", ref="r2").released
    assert again is not None
    assert (again.new, again.state, live(guard)) == (False, "rolled_back", [1, 1])
    fill(tmp_path / "checkout", gamma=1)
    following = guard.sync(tmp_path / "checkout", ref="r3")
    assert (following.plan.quarantined, following.plan.changed) == ((ONE,), (TWO,))
    assert live(guard, ONE, TWO, "gamma") == [1, 2, 1]


def test_the_label_is_gits_revision(url: str, tools_dir: Path, tmp_path: Path) -> None:
    """In a checkout the label is the revision, and another one where files differ from it; elsewhere a hash."""
    checkout = tmp_path / "checkout"
    fill(checkout, alpha=1)
    with opened(url, tools_dir) as guard:
        plain = guard.sync(checkout, dry_run=True).plan.label
        assert plain.startswith("tools-")
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
            subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=checkout, check=True)
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
        clean = guard.sync(checkout, dry_run=True).plan.label
        assert clean.removeprefix("g") == head.stdout[:12]
        fill(checkout, alpha=2)
        assert guard.sync(checkout, dry_run=True).plan.label.startswith(f"{clean}-")
