"""What a tool may be called, on every method that takes a name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidToolName
from rollguard.registry import Folder
from tests.registry.helpers import executions

BAD = [
    "",
    " ",
    ".",
    "..",
    "../evil",
    "a/b",
    "/tmp/evil",
    "a\\b",
    "a\0b",
    "a\nb",
    "a b",
    "naïve",
    "工具",
    "1st",
    "_private",
    "__init__",
    ".hidden",
    ".rollguard",
    "-dash",
    "my_tool.py",
    "a" * 101,
    "a" * 100_000,
    "my_tool\n",
    None,
    7,
    b"my_tool",
    ["my_tool"],
    Path("my_tool"),
]


def tree(folder: Path) -> dict[str, float]:
    return {
        str(path): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".db" not in path.name
    }


def test_bad_names(registry: ToolRegistry, store: ExecutionStore, tmp_path: Path) -> None:
    """A name that no file may bear is an `InvalidToolName` everywhere; nothing is written and nothing is recorded."""
    registry.deploy("my_tool", "def my_tool(): ...\n")
    before = tree(tmp_path)
    uses: list[Callable[[Any], object]] = [
        registry.get_tool,
        registry.get_tool_definition,
        lambda name: registry.call(name, x=1),
        lambda name: registry.deploy(name, "def my_tool(): ...\n"),
        lambda name: registry.restore(name, 1),
        registry.keep_hand_edit,
    ]
    for name in BAD:
        for use in uses:
            with pytest.raises(InvalidToolName):
                use(name)
    assert tree(tmp_path) == before
    assert executions(store) == []
    assert list(store.versions.live_of_all()) == ["my_tool"]


async def test_bad_names_in_async_code(registry: ToolRegistry) -> None:
    """`acall` refuses the same names."""
    for name in BAD:
        with pytest.raises(InvalidToolName):
            await registry.acall(name)  # type: ignore[arg-type]


def test_good_names(registry: ToolRegistry) -> None:
    """A letter first, then letters, digits, '_' and '-', up to 100 of them, also where Python keeps the word."""
    for name in ("a", "A1", "my_tool", "my-tool", "a" * 100, "con"):
        registry.deploy(name, f"def {name.replace('-', '_')}():\n    return {name!r}\n")
        assert registry.call(name) == name
    registry.deploy("class", "from rollguard import tool\n@tool\ndef any_name():\n    return 'class'\n")
    assert registry.call("class") == "class"


@given(name=st.text(max_size=40))
def test_a_name_never_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """Whatever the name, the tool's file is in the folder itself, or there is none."""
    folder = Folder(tmp_path)
    try:
        path = folder.file(name)
    except InvalidToolName:
        return
    assert path.parent == folder.path
    assert os.path.basename(path) == f"{name}.py"  # noqa: PTH119 - of the text, not of what pathlib makes of it
