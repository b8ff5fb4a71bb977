"""Code is run in a child process, and whatever it does there, the process that asked gets an answer in time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from rollguard.sandbox import ChildNotStarted, ToolCheck, check_tool, process

HERE = Path("/tools/my_tool.py")


def checked(code: str | bytes, deadline: float = 60.0) -> ToolCheck:
    return check_tool("my_tool", code if isinstance(code, bytes) else code.encode(), HERE, deadline=deadline)


def test_code_that_loads() -> None:
    """A tool that loads is one; its module has the name, the path and the environment that it has when it is served."""
    assert checked("def my_tool(): ...\n") == ToolCheck(loads=True)
    code = (
        f"import os, sys\nassert __file__ == {str(HERE)!r} and __package__ == ''\n"
        f"assert os.getcwd() == {str(Path.cwd())!r} and os.environ['RG_TEST'] == 'ü'\n"
        f"assert sys.path == {sys.path!r}\nassert sys.stdin.read() == ''\nprint('noise')\n"
        "def my_tool(): ...\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RG_TEST", "ü")
        assert checked(code) == ToolCheck(loads=True)


def test_a_mark_needs_no_database_library() -> None:
    """A file that only marks its tool starts without the libraries of the store, which take half a second."""
    code = (
        "import sys\nfrom rollguard import tool\n@tool\ndef my_tool(): ...\n"
        "assert not {'sqlalchemy', 'pydantic'} & set(sys.modules)\n"
    )
    assert checked(code) == ToolCheck(loads=True)


def test_a_marked_tool() -> None:
    """`@tool` means in the child what it means in the process that serves."""
    head = "from rollguard import tool\n@tool\ndef one(): ...\n"
    assert checked(head) == ToolCheck(loads=True)
    assert (
        checked(f"{head}@tool\ndef two(): ...\n").error == "one, two are all marked @tool, and none of them is my_tool"
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\n", "no tool in it"),
        ("def my_tool(:\n", "cannot be loaded: SyntaxError"),
        ("raise ValueError('ä\\n\\ud800')\n", "cannot be loaded: ValueError: ä\n\ud800"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n", "cannot be loaded: E"),
        ("import os\nos._exit(3)\n", "its import ended its process with exit code 3"),
        ("import os\nos.kill(os.getpid(), 9)\n", "its import ended its process by SIGKILL"),
        ("import os\nos.closerange(0, 999)\n", "its import ended its process with exit code"),
        ("import os\nprint('last words', flush=True)\nos._exit(0)\n", "it printed: last words"),
        (b"def my_tool(): ...\n\0", "null byte"),
    ],
)
def test_code_that_does_not(code: str | bytes, says: str) -> None:
    """Why it does not load is said in words."""
    check = checked(code)
    assert check.loads is False
    assert says in str(check.error)


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.sleep(1000)\n",
        "while True: print('x' * 9999)\n",
        "import os, time\nos.close(1)\ntime.sleep(1000)\n",
    ],
    ids=["hangs", "prints for ever", "closes stdout"],
)
def test_the_deadline(code: str) -> None:
    """Code that does not end is ended at the deadline."""
    began = time.monotonic()
    assert "did not load within 0.3 s" in str(checked(code, deadline=0.3).error)
    assert time.monotonic() - began < 60


def test_the_whole_group_ends(tmp_path: Path) -> None:
    """What the code starts ends with it, also when the code itself has ended long before."""
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    code = (
        f"import os, time\nif os.fork() == 0:\n    held = os.open({str(fifo)!r}, os.O_RDWR)\n    time.sleep(1000)\n"
        "os._exit(0)\n"
    )
    assert checked(code).loads is False
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # opens also when nobody writes any more
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # the end: nobody holds it open any more
    os.close(reader)


def test_definitions_of_classes() -> None:
    """A class is asked for its definition; one that fails, or ends the process, is a tool all the same."""
    head = "import os\nclass T:\n    def execute(self): ...\n    def get_tool_definition(self):\n        "
    assert checked(f"{head}return {{'description': 'd', 'x': {{1}}}}\n").definition == {"description": "d", "x": "{1}"}
    assert checked(f"{head}return 5\n") == ToolCheck(True, "get_tool_definition returned int, not a dict")
    assert checked(f"{head}os._exit(0)\n") == ToolCheck(True, "get_tool_definition ended its process with exit code 0")


def test_large_code() -> None:
    """Code of many megabytes reaches the child whole."""
    assert checked(b"X = '" + b"a" * 5_000_000 + b"'\ndef my_tool(): ...\n") == ToolCheck(loads=True)


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no process, that is said, and is not the code's fault."""
    monkeypatch.setattr(process.sys, "executable", "/nowhere/python")
    with pytest.raises(ChildNotStarted, match="no process can be started"):
        checked("def my_tool(): ...\n")
