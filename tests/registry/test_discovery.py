"""Which files are tools, and what becomes of those that are none."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, ToolFileError, ToolLoadError, UnknownTool
from rollguard.registry import tool
from tests.registry.helpers import executions

GOOD = "def good(x: int = 1) -> int:\n    return x + 1\n"


@pytest.fixture
def store(tmp_path: Path):
    """Discovery is about files, so one database is enough."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as opened:
        yield opened


def put(folder: Path, name: str, code: str | bytes) -> None:
    (folder / f"{name}.py").write_bytes(code if isinstance(code, bytes) else code.encode())


def called(registry: ToolRegistry, folder: Path, code: str, name: str = "my_tool", **parameters: object) -> object:
    put(folder, name, code)
    return registry.call(name, **parameters)


@pytest.mark.parametrize(
    "code",
    [
        "def my_tool(x):\n    return x * 2\n",
        "from rollguard import tool\n@tool\ndef anything(x):\n    return x * 2\n",
        "from rollguard import tool\n@tool()\ndef anything(x):\n    return x * 2\n",
        "from rollguard import tool\n@tool(description='d', is_failure=bool)\ndef anything(x):\n    return x * 2\n",
        "from rollguard import tool\ndef my_tool(x):\n    return 0\n@tool\ndef anything(x):\n    return x * 2\n",
        "from rollguard import tool\n@tool\ndef one(x):\n    return x * 2\nalias = one\n",
        "async def my_tool(x):\n    return x * 2\n",
        "class Doubler:\n    def execute(self, x):\n        return x * 2\n"
        "    def get_tool_definition(self):\n        return {}\n",
        "class Doubler:\n    async def execute(self, x):\n        return x * 2\n"
        "    def get_tool_definition(self):\n        return {}\n",
        "from abc import ABC, abstractmethod\nclass Base(ABC):\n    @abstractmethod\n    def execute(self, x): ...\n"
        "    def get_tool_definition(self):\n        return {}\n"
        "class Doubler(Base):\n    def execute(self, x):\n        return x * 2\n",
        "import functools\n@functools.lru_cache\ndef my_tool(x):\n    return x * 2\n",
        "import functools\nmy_tool = functools.partial(lambda y, x: x * y, 2)\n",
        "class Doubler:\n    def __call__(self, x):\n        return x * 2\nmy_tool = Doubler()\n",
    ],
    ids=[
        "named like the file",
        "@tool",
        "@tool()",
        "@tool with options",
        "the mark beats the name",
        "marked once under two names",
        "async function",
        "class",
        "class with async execute",
        "class with an abstract base",
        "cached",
        "partial",
        "callable object",
    ],
)
def test_forms_of_a_tool(registry: ToolRegistry, tools_dir: Path, code: str) -> None:
    """A tool is a callable named like the file or marked `@tool`, or a class with both methods."""
    assert called(registry, tools_dir, code, x=21) == 42
    assert registry.problems == {}


def test_tool_returns_the_function_itself() -> None:
    """`@tool` leaves the function as it is, so that the file can be used without Rollguard's registry."""

    def plain() -> None: ...

    assert tool(plain) is plain
    assert tool(description="x")(plain) is plain
    with pytest.raises(InvalidInput, match="by name"):
        tool("a name")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\n", "no tool in it; it needs a function named my_tool, one marked @tool, or a class with execute"),
        ("", "no tool"),
        (
            "class A:\n    def execute(self): ...\n    def get_tool_definition(self): ...\n"
            "class B:\n    def execute(self): ...\n    def get_tool_definition(self): ...\n",
            "several tool classes",
        ),
        ("from rollguard import tool\n@tool\nclass A: ...\n", "A is marked @tool but has no execute"),
        ("class my_tool:\n    def execute(self): ...\n", "no tool"),
        ("def my_tool(:\n", "SyntaxError"),
        (
            "import no_such_module_anywhere\ndef my_tool(): ...\n",
            "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        ),
        ("import sys\nsys.exit('bye')\ndef my_tool(): ...\n", "SystemExit: bye"),
        ("raise BaseException('odd')\ndef my_tool(): ...\n", "BaseException: odd"),
        (
            "class E(Exception):\n    def __str__(self):\n        raise SystemExit('no words')\n"
            "raise E\ndef my_tool(): ...\n",
            "cannot be loaded: E",
        ),
        (b"s = '\xff\xfe'\ndef my_tool(): ...\n", "SyntaxError"),
        (b"# -*- coding: no-such-code -*-\ndef my_tool(): ...\n", "SyntaxError"),
        (b"def my_tool(): ...\n\x00", "null byte"),
        ("from . import other\ndef my_tool(): ...\n", "ImportError"),
        (
            "class T:\n    def __init__(self): raise OSError('no key')\n    def execute(self): ...\n"
            "    def get_tool_definition(self): ...\n",
            r"T\(\) failed: OSError: no key",
        ),
        (
            "import sys\nclass T:\n    def __init__(self): sys.exit(3)\n    def execute(self): ...\n"
            "    def get_tool_definition(self): ...\n",
            "SystemExit: 3",
        ),
        (
            "from rollguard import tool\nasync def bad(result): return False\n"
            "@tool(is_failure=bad)\ndef my_tool(): ...\n",
            "is_failure is not a plain function",
        ),
        ("from rollguard import tool\ntool('my_tool')\ndef my_tool(): ...\n", "@tool marks a function or a class"),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "code",
)
def test_files_that_hold_no_tool(registry: ToolRegistry, tools_dir: Path, code: str | bytes, says: str) -> None:
    """A file that cannot become a tool is a `ToolLoadError` that says why, and never hides the other tools."""
    put(tools_dir, "good", GOOD)
    put(tools_dir, "my_tool", code)
    assert list(registry.get_all_tools()) == ["good"]
    assert list(registry.problems) == ["my_tool"]
    with pytest.raises(ToolLoadError, match=says):
        registry.get_tool("my_tool")
    assert [d["name"] for d in registry.get_tool_definitions()] == ["good"]
    assert registry.call("good") == 2


def test_things_that_are_no_files(registry: ToolRegistry, tools_dir: Path) -> None:
    """A folder, a dangling link and a pipe named like tools are reported, and never hide the other tools."""
    put(tools_dir, "good", GOOD)
    (tools_dir / "a_folder.py").mkdir()
    (tools_dir / "dangling.py").symlink_to(tools_dir / "nowhere.py")
    os.mkfifo(tools_dir / "pipe.py")
    problems = registry.refresh()
    assert list(registry.get_all_tools()) == ["good"]
    assert sorted(problems) == ["a_folder", "dangling", "pipe"]
    assert "not a file" in problems["a_folder"]
    assert "not there" in problems["dangling"]
    for name in problems:
        with pytest.raises(ToolFileError):
            registry.call(name)
    (tools_dir / "a_folder.py").rmdir()
    assert sorted(registry.refresh()) == ["dangling", "pipe"]


def test_a_file_in_place_of_the_folder(store: ExecutionStore, tmp_path: Path) -> None:
    """A path that cannot be a folder of tools is a `ToolFileError`."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "nul\0byte"):
        with pytest.raises(ToolFileError, match="cannot be used as the folder of tools"):
            ToolRegistry(path, store=store)


def test_names_of_files(registry: ToolRegistry, tools_dir: Path) -> None:
    """Files that begin with '_' or '.' are left alone; others that no tool may be named like are reported."""
    for name in ("_helper", ".hidden", "__init__", "has space", "%good", "naïve", "a" * 129, "good"):
        put(tools_dir, name, GOOD)
    (tools_dir / "notes.txt").write_text("no tool")
    assert list(registry.get_all_tools()) == ["good"]
    assert sorted(registry.problems) == sorted(["has space", "%good", "naïve", "a" * 129])


def test_hyphenated_file(registry: ToolRegistry, tools_dir: Path) -> None:
    """`my-tool.py` holds the tool `my-tool`, whose function is named `my_tool`."""
    assert called(registry, tools_dir, "def my_tool(x):\n    return x\n", name="my-tool", x=3) == 3
    assert list(registry.get_all_tools()) == ["my-tool"]


def test_imported_tools_are_not_the_files_own(registry: ToolRegistry, tools_dir: Path, tmp_path: Path) -> None:
    """A marked function or a tool class that the file only imports does not make it ambiguous."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "rg_shared_lib.py").write_text(
        "from rollguard import tool\n@tool\ndef elsewhere(): return 'wrong'\n"
        "class Elsewhere:\n    def execute(self): ...\n    def get_tool_definition(self): ...\n"
    )
    sys.path.insert(0, str(shared))
    try:
        code = "from rg_shared_lib import elsewhere, Elsewhere\ndef my_tool():\n    return 'right'\n"
        assert called(registry, tools_dir, code) == "right"
        registry.deploy("other", "from rg_shared_lib import elsewhere as other\n")
        assert registry.call("other") == "wrong"  # under the file's name it is meant
    finally:
        sys.path.remove(str(shared))
        sys.modules.pop("rg_shared_lib", None)


def test_odd_values_in_a_module(registry: ToolRegistry, tools_dir: Path) -> None:
    """Values that answer to every name, or raise at each, do not disturb the search for the tool."""
    code = (
        "from unittest.mock import MagicMock\n"
        "class Odd:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\n"
        "odd, mock = Odd(), MagicMock()\n"
        "def my_tool():\n    return 1\n"
    )
    assert called(registry, tools_dir, code) == 1


def test_classes_inside_tools(registry: ToolRegistry, tools_dir: Path) -> None:
    """Dataclasses, pydantic models, postponed annotations and pickle work inside a tool's file."""
    code = (
        "from __future__ import annotations\n"
        "import pickle\nfrom dataclasses import dataclass, field\nfrom pydantic import BaseModel\n"
        "@dataclass\nclass Point:\n    x: int\n    tags: list[str] = field(default_factory=list)\n"
        "class Model(BaseModel):\n    point: Point | None = None\n    n: int = 0\n"
        "def my_tool(x: int) -> Point:\n"
        "    again = pickle.loads(pickle.dumps(Point(x)))\n"
        "    assert type(again) is Point\n"
        "    return Model(point=again, n='3').point.x + Model(n='3').n\n"
    )
    assert called(registry, tools_dir, code, x=4) == 7
    properties = registry.get_tool_definition("my_tool")["parameters"]["properties"]
    assert properties == {"x": {"type": "integer"}}


def test_tools_cannot_import_each_other(registry: ToolRegistry, tools_dir: Path) -> None:
    """A tool's file stands alone: another file of the folder cannot be imported."""
    put(tools_dir, "_helper", "VALUE = 1\n")
    put(tools_dir, "good", GOOD)
    for line in ("import _helper", "from _helper import VALUE", "import good", "from .good import good"):
        put(tools_dir, "my_tool", f"{line}\ndef my_tool(): ...\n")
        with pytest.raises(ToolLoadError, match=r"ImportError|ModuleNotFoundError"):
            registry.get_tool("my_tool")


def test_healed_tool(registry: ToolRegistry, tools_dir: Path, tmp_path: Path) -> None:
    """A file that failed because of something outside of it is tried again at `refresh`."""
    put(
        tools_dir,
        "my_tool",
        f"import pathlib\nVALUE = pathlib.Path({str(tmp_path / 'needed')!r}).read_text()\n"
        "def my_tool():\n    return VALUE\n",
    )
    with pytest.raises(ToolLoadError, match="FileNotFoundError"):
        registry.call("my_tool")
    assert list(registry.problems) == ["my_tool"]
    (tmp_path / "needed").write_text("here")
    assert registry.refresh() == {}
    assert registry.call("my_tool") == "here"


def test_problem_is_a_failed_call(registry: ToolRegistry, store: ExecutionStore, tools_dir: Path) -> None:
    """Calling a tool whose file cannot be loaded is a failed execution; calling an unknown one is none at all."""
    put(tools_dir, "my_tool", "def my_tool(:\n")
    registry.refresh()
    with pytest.raises(ToolLoadError) as caught:
        registry.call("my_tool", x=1)
    with pytest.raises(ToolLoadError) as again:
        registry.call("my_tool", x=1)
    assert caught.value is not again.value  # one and the same would collect the frames of every call
    with pytest.raises(UnknownTool, match="there are: my_tool"):
        registry.call("unknown")
    rows = executions(store)
    assert [(r["tool_name"], r["success"], r["error_type"], r["version_number"]) for r in rows] == [
        ("my_tool", False, "ToolLoadError", None)
    ] * 2


def test_old_versions_leave_no_modules_behind(registry: ToolRegistry, tools_dir: Path) -> None:
    """The module of a version that is served no more is forgotten, so that a long life of deployments leaks none."""

    def ours() -> set[str]:
        gc.collect()
        return {name for name in sys.modules if name.startswith("rollguard_tool_leaky")}

    for version in range(5):
        registry.deploy("leaky", f"def leaky():\n    return {version}\n")
        assert registry.call("leaky") == version
        with pytest.raises(ToolLoadError):
            registry.deploy("leaky", f"def nothing():\n    return {version}\n")
    assert len(ours()) == 1
