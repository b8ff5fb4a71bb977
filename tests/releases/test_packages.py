"""Packages and files with several tools: they are restored as one, and each tool of them is watched by itself."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, Rollguard, ToolRegistry
from rollguard.compat import pack, unpack
from rollguard.errors import CodeQuarantined, InvalidInput, ReleaseConflict, UnknownTool
from rollguard.registry import Folder
from rollguard.registry.folder import tree
from rollguard.settings import NotifySettings, Settings
from tests.conftest import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TOOLS = ("web/fetch", "web/rank", "web/search")


def files(version: int, *added: str) -> dict[str, str]:
    """A package of three tools, each in a module of its own, with a helper that says the version."""
    names = ("fetch", "rank", "search", *added)
    modules = {
        f"{name}.py": "from rollguard import tool\nfrom web import common\n\n\n"
        f"@tool\ndef {name}(x: int = 0) -> tuple:\n    from .late import late\n\n"
        f"    return {version}, common.VERSION, late()\n"
        for name in names
    }
    return modules | {
        "__init__.py": "".join(f"from .{name} import {name}\n" for name in names),
        "common.py": f"VERSION = {version}\n",
        "late.py": f"def late() -> int:\n    return {version}\n",
    }


def written(folder: Path, content: Mapping[str, str | bytes]) -> Path:
    """A folder with such files."""
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def text_of(version: int, *added: str) -> bytes:
    """The version's code as it is stored."""
    return pack({name: text.encode() for name, text in files(version, *added).items()})


class Story:
    """A system with a package of three tools in version 1, whose calls of two days succeed."""

    def __init__(self, url: str, folder: Path, code: Any = None) -> None:
        self.url, self.folder = url, folder
        self.guard = opened(url, folder)
        self.store, self.registry = self.guard.store, self.guard.registry
        self.guard.release("v1", {"web": code or text_of(1)}, released_at=NOW - timedelta(days=3), watch=False)
        for tool in self.registry.folder.names():
            self.calls(tool, 200, 4, at=NOW - timedelta(days=2))

    def calls(self, tool: str, total: int, failures: int, *, at: Any = NOW + HOUR) -> None:
        """Record calls of the version that is live; a failure comes every so often."""
        self.store.store_tool_executions(
            {
                "tool_name": tool,
                "success": (i * failures) // total == ((i + 1) * failures) // total,
                "duration_ms": 10.0,
                "executed_at": at + timedelta(seconds=i),
            }
            for i in range(total)
        )

    def cycle(self, hours: float = 2) -> None:
        asyncio.run(self.guard.loop.check_deployment_health(now=NOW + timedelta(hours=hours)))

    def live(self, *tools: str) -> list[int | None]:
        found = [self.store.versions.live(tool) for tool in tools or TOOLS]
        return [one and one.version_number for one in found]


def opened(url: str, folder: Path) -> Rollguard:
    """The system, as a process opens it."""
    return Rollguard(Settings(database=url, tools_dir=folder, follow=False, notify=NotifySettings(log=False)))


@pytest.fixture
def story(url: str, tools_dir: Path) -> Iterator[Story]:
    """A package of three tools under watch, and a clock."""
    told = Story(url, tools_dir)
    yield told
    told.guard.close()


def test_one_of_three_tools_of_a_package_regresses_and_it_goes_back_as_one(story: Story, tmp_path: Path) -> None:
    """The package's tree is back with its helpers, each tool at its version before, and only one is to blame."""
    done = story.guard.release("v2", [written(tmp_path / "src" / "web", files(2))], released_at=NOW)
    assert (done.changed, story.live()) == (TOOLS, [2, 2, 2])
    assert {story.registry.call(tool) for tool in TOOLS} == {(2, 2, 2)}
    for tool in TOOLS:
        story.calls(tool, 60, 30 if tool == "web/rank" else 1)
    story.cycle()
    assert story.live() == [1, 1, 1]
    assert {story.registry.call(tool) for tool in TOOLS} == {(1, 1, 1)}
    assert unpack(story.registry.folder.read("web/fetch") or b"")["common.py"] == b"VERSION = 1\n"
    rollbacks = {r.tool_name: (r.state, r.to_version, r.quarantines) for r in story.store.rollbacks.recent()}
    assert rollbacks == {tool: ("finished", 1, tool == "web/rank") for tool in TOOLS}
    assert [held.tool_name for held in story.store.quarantine.in_force()] == ["web/rank"]
    assert not list(story.folder.glob(".rollguard-*"))
    with pytest.raises(CodeQuarantined, match="web/rank: this code is version 2"):
        story.guard.release("v3", {"web": text_of(2)})


def test_old_and_new_trees_never_mix(story: Story) -> None:
    """A call that runs while the package is replaced imports its helpers from its own version."""
    old = story.registry.get_tool("web/fetch")
    story.guard.release("v2", {"web": text_of(2)}, released_at=NOW)
    new = story.registry.get_tool("web/fetch")
    assert (old.invoke(), new.invoke()) == ((1, 1, 1), (2, 2, 2))
    assert new.module is story.registry.get_tool("web/rank").module
    gone, stays = (tool.module.__name__ if tool.module else "" for tool in (old, new))
    assert {f"{name}.late" in sys.modules for name in (gone, stays)} == {True}
    del old
    gc.collect()
    assert (f"{gone}.late" in sys.modules, f"{stays}.late" in sys.modules) == (False, True)


def test_an_added_tool_is_withdrawn_and_one_that_is_gone_comes_back(story: Story) -> None:
    """A release with an added tool, and without an old one: after its rollback the package is as before."""
    two = {k: v.encode() for k, v in files(2, "sort").items() if k != "fetch.py"}
    two["__init__.py"] = two["__init__.py"].replace(b"from .fetch import fetch\n", b"")
    done = story.guard.release("v2", {"web": pack(two)}, released_at=NOW)
    assert (done.changed, done.added) == (("web/rank", "web/search", "web/sort"), ("web/sort",))
    assert story.registry.call("web/sort") == (2, 2, 2)
    with pytest.raises(UnknownTool):
        story.registry.folder.latest_swap, story.registry.call("web/fetch")
    story.calls("web/rank", 60, 40)
    story.cycle()
    assert story.live(*TOOLS, "web/sort") == [1, 1, 1, None]
    assert story.registry.call("web/fetch") == (1, 1, 1)
    assert story.registry.folder.names() == list(TOOLS)


def test_a_whole_new_package_is_withdrawn(story: Story) -> None:
    """Where all tools of a package are new, its folder is gone after the rollback."""
    story.guard.release(
        "v2",
        {
            "net": pack(
                {
                    "__init__.py": files(1)["fetch.py"].replace("web", "net").encode()
                    + b"\n@tool\ndef more():\n    return 1\n",
                    "common.py": b"VERSION = 1\n",
                }
            )
        },
        released_at=NOW,
    )
    assert (story.folder / "net" / "__init__.py").is_file()
    assert story.live("net/fetch", "net/more") == [1, 1]
    story.guard.monitor.roll_back_release("v2", reason="r", now=NOW + HOUR)
    assert story.live("net/fetch", "net/more") == [None, None]
    assert not (story.folder / "net").exists()


def test_a_person_rolls_one_tool_of_a_package_back(story: Story) -> None:
    """A rollback of one tool by hand takes the others of its package with it, and no other tool of the release."""
    (story.folder / "alone.py").write_text("def alone():\n    return 1\n")
    story.registry.refresh()
    story.guard.release("v2", {"web": text_of(2), "alone": "def alone():\n    return 2\n"}, released_at=NOW)
    done = story.guard.monitor.roll_back("web/rank", reason="by hand", now=NOW + HOUR)
    assert "its file goes back as one, with it web/fetch, web/search" in done.reason
    assert story.live(*TOOLS, "alone") == [1, 1, 1, 2]
    assert story.store.rollbacks.open() == []
    assert story.guard.monitor.roll_back("web/fetch", to_version="v2", reason="r", now=NOW + 2 * HOUR).to_version == 2
    assert story.live() == [2, 2, 2]
    assert story.registry.call("web/rank") == (2, 2, 2)


def test_an_edit_of_a_helper_is_an_edit_of_each_tool(story: Story) -> None:
    """A helper module that a person changes makes a new version; a regression of one tool takes the edit back."""
    assert story.registry.call("web/fetch") == (1, 1, 1)
    (story.folder / "web" / "common.py").write_text("VERSION = 5\n")
    for tool in TOOLS:
        story.registry.get_tool(tool)
        assert story.registry.call(tool) == (1, 5, 1)
    assert story.live() == [2, 2, 2]
    edited = max(life.deployed_at for tool in TOOLS for life in story.store.versions.deployments(tool))
    story.guard.monitor.watch_edits()
    for tool in TOOLS:
        story.calls(tool, 200, 4, at=edited - 2 * DAY)
    story.calls("web/rank", 60, 50, at=edited)
    asyncio.run(story.guard.loop.check_deployment_health(now=edited + HOUR))
    assert story.live() == [1, 1, 1]
    assert {story.registry.call(tool) for tool in TOOLS} == {(1, 1, 1)}


def test_several_tools_in_one_file(url: str, tools_dir: Path) -> None:
    """The file is what is restored, each tool is counted by itself, and the one named like the file keeps its name."""
    code = (
        "from rollguard import tool\n\nCALLS = []\n\n\n@tool\ndef web():\n    CALLS.append(1)\n"
        "    return {0}, len(CALLS)\n\n\n@tool\ndef rank():\n    CALLS.append(1)\n    return {0}, len(CALLS)\n"
    )
    story = Story(url, tools_dir, code.format(1))
    assert story.registry.folder.names() == ["web", "web/rank"]
    assert (story.registry.call("web"), story.registry.call("web/rank")) == ((1, 1), (1, 2))
    story.guard.release("v2", {"web/rank": code.format(2)}, released_at=NOW)
    assert story.live("web", "web/rank") == [2, 2]
    story.calls("web", 60, 40)
    story.cycle()
    assert story.live("web", "web/rank") == [1, 1]
    assert (tools_dir / "web.py").read_text() == code.format(1)
    for refused in (lambda: story.guard.deploy("web", code.format(3)), lambda: story.registry.restore("web/rank", 2)):
        with pytest.raises(InvalidInput, match="holds several tools \\(web, web/rank\\), which go live together"):
            refused()
    story.guard.close()


def test_a_package_with_one_tool_is_deployed_like_a_file(url: str, tools_dir: Path, tmp_path: Path) -> None:
    """One tool in a package has the package's name; a file and a package can take each other's place."""
    guard = opened(url, tools_dir)
    guard.deploy("one", "def one():\n    return 1\n", watch=False)
    package = written(
        tmp_path / "one", {"__init__.py": "from .impl import one\n", "impl.py": "def one():\n    return 2\n"}
    )
    guard.deploy("one", package, watch=False)
    assert (guard.registry.call("one"), (tools_dir / "one.py").exists()) == (2, False)
    assert guard.versions.compare_versions("one", 1, 2).lines_added > 2
    guard.monitor.roll_back("one", reason="r", now=NOW)
    assert (guard.registry.call("one"), (tools_dir / "one").exists()) == (1, False)
    assert [change.kind for change in guard.registry.changes("one", package)] == []
    guard.close()


def test_a_package_is_synced_as_one(story: Story, tmp_path: Path) -> None:
    """A sync of a folder releases all tools of a package that changed, and nothing a second time."""
    source = tmp_path / "repo"
    written(source / "web", files(1))
    story.guard.sync(source, ref="first")
    written(source / "web", files(2))
    assert story.guard.sync(source, ref="abc", dry_run=True).plan.changed == TOOLS
    done = story.guard.sync(source, ref="abc")
    assert done.released is not None
    assert (done.released.changed, story.live()) == (TOOLS, [2, 2, 2])
    assert story.guard.sync(source).released is None
    story.guard.monitor.roll_back("web/rank", reason="r", now=NOW + HOUR, quarantine=True)
    plan = story.guard.sync(source, dry_run=True).plan
    assert (plan.quarantined, plan.changed) == (TOOLS, ())


def test_a_package_of_which_a_live_version_wins_is_left_whole(story: Story, tmp_path: Path) -> None:
    """A tool that the folder adds to a package is not released while the package's live version is kept."""
    source = tmp_path / "repo"
    written(source / "web", files(1))
    story.guard.sync(source, ref="first")
    story.guard.release("hot fix", {"web": text_of(7)}, created_by="ana")
    written(source / "web", files(2, "extra"))
    written(source, {"alone.py": "def alone() -> int:\n    return 1\n"})
    with pytest.raises(ReleaseConflict, match="version 2 of web/rank, deployed by ana"):
        story.guard.sync(source, ref="second")
    done = story.guard.sync(source, ref="second", wins="live")
    assert done.released is not None
    assert (done.released.changed, done.kept) == (("alone",), ("web/extra", *TOOLS))
    assert (story.live(), story.registry.call("web/rank")) == ([2, 2, 2], (7, 7, 7))
    done = story.guard.sync(source, ref="third", wins="folder")
    assert done.released is not None
    assert (done.released.changed, done.kept) == (("web/extra", *TOOLS), ())
    assert (story.live(), story.registry.call("web/extra")) == ([3, 3, 3], (2, 2, 2))


def test_a_package_with_one_tool_in_quarantine_stops_no_sync(story: Story, tmp_path: Path) -> None:
    """It is left whole, because its tools go live together; the other tools of the folder are released."""
    source = tmp_path / "repo"
    written(source / "web", files(2))
    done = story.guard.release("v2", [source / "web"], released_at=NOW)
    for tool in TOOLS:
        story.calls(tool, 60, 30 if tool == "web/rank" else 1)
    story.cycle()
    assert (done.changed, [held.tool_name for held in story.store.quarantine.in_force()]) == (TOOLS, ["web/rank"])
    written(source, {"alone.py": "def alone() -> int:\n    return 1\n"})
    synced = story.guard.sync(source, ref="next")
    assert synced.released is not None
    assert (synced.plan.quarantined, synced.released.changed, story.live()) == (TOOLS, ("alone",), [1, 1, 1])


def test_a_package_goes_to_other_machines(story: Story, tmp_path: Path) -> None:
    """A folder on another machine gets the package as one, and gives back what its release added."""
    there = written(tmp_path / "there" / "web", files(1)).parent
    store = ExecutionStore(story.url)
    registry = ToolRegistry(there, store=store)
    replica = registry._replica
    assert replica is not None
    for label, added, back in (("v2", ("sort",), False), ("v2", (), True)):
        if back:
            story.guard.monitor.roll_back_release(label, reason="r", now=NOW + HOUR)
        else:
            story.guard.release(label, {"web": text_of(2, *added)}, released_at=NOW)
        replica.catch_up(threading.Event())
        assert registry.folder.read("web/rank") == text_of(1 if back else 2, *added)
    assert registry.call("web/rank") == (1, 1, 1)
    registry.close()
    store.close()


def test_processes_with_old_and_new_packages_do_not_take_turns(story: Story) -> None:
    """Pods with old and new images on one store restart in turn: one release a label, and nothing moves."""
    images = {number: story.folder.parent / f"image{number}" for number in (1, 2)}
    for number, folder in images.items():
        written(folder / "web", files(number))
    story.guard.release("v2", {"web": text_of(2)}, released_at=NOW)
    before = len(story.store.versions.deployments("web/rank"))
    for number in (1, 2, 1, 2):
        with opened(story.url, images[number]) as pod:
            done = pod.release(f"v{number}", [images[number] / "web"])
            assert done.new is False
            pod.registry.call("web/rank")
    assert (story.live(), len(story.store.versions.deployments("web/rank"))) == ([2, 2, 2], before)
    assert len(story.store.releases.recent()) == 2


def test_what_a_package_may_not_hold(tmp_path: Path, tools_dir: Path, store: ExecutionStore) -> None:
    """Links, what is too much, and what is no file are refused with the reason, and stop no other tool."""
    package = written(tools_dir / "web", {"__init__.py": "def web():\n    return 1\n"})
    (tools_dir / "good.py").write_text("def good():\n    return 1\n")
    registry = ToolRegistry(tools_dir, store=store, check_every=0)
    assert registry.call("web") == 1
    (package / "secret").symlink_to("/etc/passwd")
    assert "is a link; a package of tools holds files" in registry.problems["web"]
    (package / "secret").unlink()
    (package / "around").symlink_to(package)
    assert "is a link" in registry.problems["web"]
    (package / "around").unlink()
    with (package / "data.bin").open("wb") as file:
        file.truncate(50 * 2**20)
    assert "more than 4 MiB or 1,000 files" in registry.problems["web"]
    with pytest.raises(InvalidInput, match="4 MiB"):
        registry.deploy("web", package)
    (package / "data.bin").unlink()
    (package / "a\nb").write_text("")
    assert "that no version can keep" in registry.problems["web"]
    (package / "a\nb").unlink()
    assert (registry.problems, registry.call("web"), registry.call("good")) == ({}, 1, 1)
    (tools_dir / "net").mkdir()
    (tools_dir / "net" / "data.txt").write_text("mine")
    with pytest.raises(Exception, match="a folder that is no package of tools is in its place"):
        registry.deploy("net", pack({"__init__.py": b"def net():\n    return 1\n"}))
    for bad in (b"../x.py", b"/x.py", b"a/./b.py"):
        with pytest.raises(InvalidInput, match="cannot name a file of a package"):
            registry.deploy("net", b"rollguard package 1\n==> %s, 1 bytes\nx\n" % bad)
    registry.close()


def test_what_is_no_part_of_a_version_survives_a_swap(story: Story) -> None:
    """Files that begin with a dot are kept with their mode, and bytecode is not part of a version."""
    (story.folder / "web" / ".env").write_text("KEY=1")
    (story.folder / "web" / ".env").chmod(0o600)
    written(story.folder / "web" / "__pycache__", {"x.pyc": b"\0"})
    (story.folder / "web" / "late.py").chmod(0o640)
    story.guard.release("v2", {"web": text_of(2)}, released_at=NOW)
    assert (story.folder / "web" / ".env").stat().st_mode & 0o777 == 0o600
    assert (story.folder / "web" / "late.py").stat().st_mode & 0o777 == 0o640
    assert story.registry.folder.read("web/rank") == text_of(2)


def test_a_system_that_cannot_exchange_folders(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders cannot change places in one step, a crash between the two leaves what is put back."""
    monkeypatch.setattr(tree, "_exchange", lambda _one, _other: False)
    story.guard.release("v2", {"web": text_of(2)}, released_at=NOW)
    assert {story.registry.call(tool) for tool in TOOLS} == {(2, 2, 2)}
    removed = tree.remove

    def killed(path: Path) -> None:
        removed(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(tree, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        story.guard.release("v3", {"web": text_of(3)}, released_at=NOW)
    monkeypatch.setattr(tree, "remove", removed)
    with opened(story.url, story.folder) as next_start:
        next_start.registry.settle_swaps()
        assert (story.live(), next_start.registry.call("web/rank")) == ([2, 2, 2], (2, 2, 2))


def test_another_process_serves_the_package_that_was_restored_within_50_ms(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that learns of the swap by its check of the files alone serves the old tree when 50 ms have passed."""
    now = 1000.0
    there = ToolRegistry(story.folder, store=story.store, clock=lambda: now, follow=False)
    story.guard.release("v2", {"web": text_of(2)}, released_at=NOW)
    assert {there.call(tool) for tool in TOOLS} == {(2, 2, 2)}
    unaware = Folder.latest_swap
    story.guard.monitor.roll_back_release("v2", reason="r", now=NOW + HOUR)
    monkeypatch.setattr(Folder, "latest_swap", unaware)
    assert {there.call(tool) for tool in TOOLS} == {(2, 2, 2)}
    now += 0.05
    assert {there.call(tool) for tool in TOOLS} == {(1, 1, 1)}
    assert story.live() == [1, 1, 1]
    there.close()


def test_a_package_that_a_person_fixed_meanwhile_is_left_and_named(story: Story) -> None:
    """Of two packages of a release one was edited since: it stays with all of its tools, and the other goes back."""
    net = {number: {k: v.replace("web", "net") for k, v in files(number).items()} for number in (1, 2)}
    code = {number: pack({k: v.encode() for k, v in each.items()}) for number, each in net.items()}
    story.guard.release("n1", {"net": code[1]}, released_at=NOW - 3 * DAY, watch=False)
    story.guard.release("v2", {"web": text_of(2), "net": code[2]}, released_at=NOW)
    fixed = [tool.replace("web", "net") for tool in TOOLS]
    assert {story.registry.call(tool) for tool in fixed} == {(2, 2, 2)}
    (story.folder / "net" / "common.py").write_text("VERSION = 7\n")
    for tool in fixed:
        story.registry.get_tool(tool)
        assert story.registry.call(tool) == (2, 7, 2)
    story.calls("web/rank", 60, 40)
    story.cycle()
    assert (story.live(), story.live(*fixed)) == ([1, 1, 1], [3, 3, 3])
    (cause,) = story.store.rollbacks.recent(tool_name="web/rank")
    assert "left as they are: net/fetch (version 3 is live since, by unknown), net/rank" in cause.reason
    assert story.registry.call("net/rank") == (2, 7, 2)
