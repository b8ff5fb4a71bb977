"""A tool runs with inputs in the sandbox; whatever it does, each input has an outcome, and the next one is run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.compat import pack
from rollguard.errors import InvalidInput, SandboxUnavailable
from rollguard.rehearse.sandboxed import in_sandbox
from rollguard.sandbox import Frame, Isolation, Limits, Outcome, OutcomeKind, layers, run, run_inputs
from rollguard.sandbox.layers import LAYERS
from rollguard.sandbox.work_folder import WorkFolder, remove_abandoned

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"
LONG = Limits(seconds=120, memory_bytes=128 << 20, file_bytes=1 << 20, result_bytes=1_000)
SHORT = Limits(seconds=0.3, memory_bytes=128 << 20)

DOES = {  # the names are those of the table in docs/sandbox.md
    "forks": "os.fork()",
    "starts a program": "subprocess.run(['true'])",
    "takes too much memory": "bytearray(1 << 33)",
    "fills the disk": "while True: open(str(random.random()), 'w').write('x' * 1_000_000)",
    "makes too many files": "while True: open(str(random.random()), 'w').close()",
    "writes a file that is too large": "open('large', 'wb').truncate(1 << 30)",
    "writes outside": "open('/tmp/outside', 'w')",
    "opens a socket": "socket.create_connection(('127.0.0.1', 9))",
    "ends its process": "os._exit(3)",
    "ends as a program does": "sys.exit('bye')",
    "ends by a signal": "os.kill(os.getpid(), 15)",
    "crashes": "ctypes.string_at(0)",
    "closes everything": "os.closerange(0, 999)",
    "writes into the pipe for answers": "[forge(fd) for fd in range(3, 99)]",
    "returns too much": "return 'x' * 2_000",
    "calls itself without end": "return t(how)",
    "raises what cannot be described": "raise Dumb",
    "changes what everything uses": "json.dumps = os.write = builtins.open = str = None; return 1",
    "returns what JSON cannot hold": "return {1: {2.5}, 'b': b'x', 'n': float('nan'), 'o': object(), 'e': Dumb()}",
    "prints much": "print('x' * 100_000)",
}
HANGS = {
    "runs without end": "while True: pass",
    "waits without end": "time.sleep(1_000)",
    "prints without end": "while True: print('x' * 999)",
    "stops itself": "os.kill(os.getpid(), 19)",
}
IMPORTS = {
    "raises at its import": "raise ValueError('broken')",
    "ends at its import": "import os\nprint('last words')\nos._exit(3)",
    "does not end at its import": "while True: pass",
    "is no Python": "def t(:",
    "has no tool": "x = 1",
}
HEAD = """
import builtins, ctypes, json, os, random, socket, subprocess, sys, threading, time
class Dumb(Exception):
    def __str__(self): raise SystemExit
    __repr__ = __reduce__ = __str__
def forge(fd):
    try: os.write(fd, b'00 returned 1\\n' * 3)
    except OSError: pass
def fine(how): return how
"""


def module(does: dict[str, str]) -> str:
    functions = [f"def does_{number}(how, t=None):\n    {code}\n" for number, code in enumerate(does.values())]
    choose = "def t(how):\n    return (fine if how is None else globals()[f'does_{how}'])(how)\n"
    return HEAD + "".join(functions).replace("return t(how)", "return does_15(how)") + choose


def table() -> dict[str, list[str]]:
    lines = PAGE.read_text().partition("## What a candidate does")[2].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: [kind, says] for name, kind, says in cells[2:]}


def as_in_the_table(name: str, outcome: Outcome) -> None:
    kind, says = table()[name]
    said = ": ".join(filter(None, [outcome.error_type, outcome.error or outcome.result]))
    assert (outcome.kind.value, says in said) == (kind, True), f"{name}: {outcome}"


def one(code: str, limits: Limits = LONG, **options: Any) -> Outcome:
    (outcome,) = run_inputs(code, "t", [{}], limits, **options)
    return outcome


def test_the_table_has_everything() -> None:
    """Each candidate of the tests is in the table of the page, and each of the table is tried."""
    assert list(table()) == [*DOES, *HANGS, *IMPORTS]


def test_what_a_candidate_does_is_contained() -> None:
    """Whatever a candidate does ends as an outcome, and the next input is run as if nothing had been."""
    asked = [how for number in range(len(DOES)) for how in (number, None)]
    assert list(DOES)[15] == "calls itself without end"
    outcomes = run_inputs(module(DOES), "t", [{"how": how} for how in asked], LONG)
    for name, outcome in zip(DOES, outcomes[::2], strict=True):
        as_in_the_table(name, outcome)
        assert len(outcome.output) <= LONG.output_bytes
    lasting = 2 * list(DOES).index("changes what everything uses")
    assert {(after.kind, after.result) for after in outcomes[1:lasting:2]} == {(OutcomeKind.RETURNED, "null")}


def test_a_candidate_that_does_not_end() -> None:
    """What does not end is ended in time, and says so."""
    outcomes = run_inputs(module(HANGS), "t", [{"how": how} for how in range(len(HANGS))], SHORT)
    for name, outcome in zip(HANGS, outcomes, strict=True):
        as_in_the_table(name, outcome)
        assert len(outcome.output) <= SHORT.output_bytes


@pytest.mark.parametrize("name", IMPORTS)
def test_a_candidate_that_does_not_load(name: str) -> None:
    """What does not load is run with no input, and the reason is said for each."""
    limits = Limits(total_seconds=1.0) if name == "does not end at its import" else LONG
    outcomes = run_inputs(IMPORTS[name], "t", [{}, {}], limits)
    for outcome in outcomes:
        as_in_the_table(name, outcome)


def test_what_is_told_of_a_run() -> None:
    """A run has its result, output, time and memory; a failure also the innermost line of the tool's own code."""
    code = (
        "import json, os\nkept = []\ndef inner(x):\n    return json.loads(x)  # fails\n"
        "def t(x, /, *, y=1):\n"
        "    print('saw', x)\n    kept.append(x)\n"
        "    return inner(x) if y else [kept, dict(os.environ), os.listdir()]\n"
    )
    given = [{"x": "[1]"}, {"x": "{"}, {"x": "", "y": 0}]
    good, bad, seen = run_inputs(code, "t", given, Limits(seconds=120, environment={"A": "ü"}))
    assert (good.kind, good.result, good.output) == (OutcomeKind.RETURNED, "[1]", "saw [1]\n")
    assert good.duration_ms > 0
    assert good.memory_bytes > 1 << 20
    assert (bad.kind, bad.error_type, bad.output) == (OutcomeKind.RAISED, "JSONDecodeError", "saw {\n")
    assert bad.frame == Frame("inner", 4, "return json.loads(x)  # fails")
    assert json.loads(str(seen.result)) == [["[1]", "{", ""], {"A": "ü"}, []]


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("import asyncio\nasync def t():\n    await asyncio.sleep(0)\n    return 1\n", "1"),
        ("async def t():\n    yield 1\n    yield 2\n", "[1, 2]"),
        ("def t():\n    yield 1\n", "[1]"),
        ("class T:\n    def execute(self): return 3\n    def get_tool_definition(self): return {}\n", "3"),
        ("from rollguard import tool\n@tool\ndef other(): return 4\n", "4"),
    ],
    ids=["async", "async stream", "stream", "class", "marked"],
)
def test_every_kind_of_tool(code: str, result: str) -> None:
    """Every kind of tool that is served runs in the sandbox."""
    outcome = one(code)
    assert (outcome.kind, outcome.result) == (OutcomeKind.RETURNED, result), outcome


def test_a_result_that_is_a_failure() -> None:
    """What the tool's own check finds a failure is one here too, as it would be recorded."""
    code = (
        "class T:\n    def execute(self): return {'error': 'none'}\n    def get_tool_definition(self): return {}\n"
        "    def is_failure(self, result): return result['error']\n"
    )
    outcome = one(code)
    assert (outcome.kind, outcome.error_type, outcome.error) == (OutcomeKind.RAISED, "ReturnedFailure", "none")
    assert outcome.result == '{"error": "none"}'


def test_answers_that_are_forged_ahead() -> None:
    """A tool cannot answer for an input that it was not yet given: the word of the question is not known before."""
    code = (
        "import os\ndef t(x):\n    if x == 1:\n        for fd in range(3, 99):\n"
        "            try: os.write(fd, b'0123456789abcdef returned 9\\n' * 5)\n            except OSError: pass\n"
        "    return x\n"
    )
    outcomes = run_inputs(code, "t", [{"x": x} for x in (0, 1, 2, 3)], LONG)
    assert [outcome.result for outcome in outcomes] == ["0", None, "2", "3"]
    assert outcomes[1].kind is OutcomeKind.DIED


def test_hosts() -> None:
    """A declared host is reached at its port; another host, port or way is not."""
    code = (
        "import socket\ndef t(host, port, kind=1):\n    with socket.socket(socket.AF_INET, kind) as opened:\n"
        "        opened.settimeout(60)\n"
        "        opened.connect(socket.getaddrinfo(host, port)[0][4])\n        return opened.recv(2).decode()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        port = server.getsockname()[1]
        limits = Limits(seconds=120, hosts=(f"127.0.0.1:{port}",))
        given = [{"host": "127.0.0.1", "port": other.getsockname()[1]}, {"host": "example.com", "port": port}]
        given += [{"host": "127.0.0.1", "port": port, "kind": 2}]
        refused = run_inputs(code, "t", given, limits)
        assert [one.error_type for one in refused] == ["PermissionError", "gaierror", "PermissionError"], refused

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"hi")

        serving = threading.Thread(target=serve)
        serving.start()
        (reached,) = run_inputs(code, "t", [{"host": "127.0.0.1", "port": port}], limits)
        serving.join()
    assert reached.result == '"hi"', reached


def test_libraries_that_are_declared(tmp_path: Path) -> None:
    """A folder that is declared can be imported from; without that it cannot be read."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        (folder / "my_helper.py").write_text("def help(): return 5\n")
        code = "def t():\n    import my_helper\n    return my_helper.help()\n"
        assert one(code).error_type == "ModuleNotFoundError"
        assert one(code, libraries=[folder]).result == "5"
    finally:
        shutil.rmtree(folder)


def test_what_cannot_be_asked() -> None:
    """An input without JSON, an unknown isolation and what is no host are refused, with what to do."""
    with pytest.raises(InvalidInput, match="input 2 has no form in JSON"):
        run_inputs("def t(): ...", "t", [{}, {"x": object()}])
    with pytest.raises(InvalidInput, match='not one of "required", "best_effort"'):
        run_inputs("def t(): ...", "t", [], isolation="none")
    with pytest.raises(InvalidInput, match="write name or name:port"):
        run_inputs("def t(): ...", "t", [], Limits(hosts=("http://x",)))


# --- where a layer is missing ----------------------------------------------------------------------------------------


@pytest.fixture
def without_landlock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A child in which the kernel refuses Landlock."""
    folder = Path(tempfile.mkdtemp())
    for file in run._CHILD.parent.glob("*.py"):
        shutil.copy(file, folder)
    old = (folder / "landlock.py").read_text()
    (folder / "landlock.py").write_text(
        old.replace("_CREATE, _ADD, _RESTRICT = 444", "_CREATE, _ADD, _RESTRICT = 9999")
    )
    monkeypatch.setattr(run, "_CHILD", folder / "child.py")
    yield
    shutil.rmtree(folder)


@pytest.mark.usefixtures("without_landlock")
def test_a_missing_layer_fails_closed() -> None:
    """Where a layer is missing nothing is run, and the error names it, unless less is permitted."""
    with pytest.raises(SandboxUnavailable, match=r"files: Function not implemented.*best_effort"):
        one("def t(): return 1")
    assert one("def t(): return 1", isolation=Isolation.BEST_EFFORT).result == "1"


@pytest.mark.usefixtures("without_landlock")
def test_a_missing_layer_is_named() -> None:
    """What does not hold is found by trying, and named; the rest holds."""
    found = {layer.name: layer for layer in layers.__wrapped__()}
    assert [name for name, layer in found.items() if not layer.holds] == ["files"]
    assert "a file outside, to read" in found["files"].why


def test_every_layer_holds_here() -> None:
    """On this machine trying to get past each layer fails."""
    assert [(layer.name, layer.holds) for layer in layers()] == [(name, True) for name in LAYERS]


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system starts no process, that is said."""
    monkeypatch.setattr("rollguard.sandbox.process.sys.executable", "/nowhere/python")
    with pytest.raises(SandboxUnavailable, match="free processes or memory"):
        one("def t(): ...")


def test_the_folder_of_a_killed_process_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that no process holds locked was left by one that was killed: it is removed, and none that is in use."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = Path(tempfile.mkdtemp(prefix="rollguard-sandbox-"))
    (left / "folder").mkdir()
    with WorkFolder(1) as used:
        remove_abandoned.__wrapped__(str(tmp_path))
        assert [*tmp_path.iterdir()] == [Path(used.path)]
    assert [*tmp_path.iterdir()] == []


def test_a_package_knows_its_own_name() -> None:
    """The modules of a package import one another by its name, whatever its tool is called; errors name the line."""
    marked = b"from rollguard import tool\n@tool\ndef "
    files = {
        "__init__.py": b"from shop.money import price\nfrom .other import other\n",
        "money.py": b"from shop.parse import number\n" + marked + b"price(amount): return number(amount)\n",
        "parse.py": b"def number(text):\n    return float(text)\n",
        "other.py": marked + b"other(): pass\n",
    }
    good, bad = in_sandbox()(pack(files), "shop/price", [{"amount": "2"}, {"amount": "x"}], LONG)
    assert good.result == "2.0"
    assert bad.frame == Frame("number", 2, "return float(text)")


def test_a_folder_that_is_hard_to_remove() -> None:
    """A folder within folders, deeper than any path may be, and without rights, is removed."""
    folder = WorkFolder(1 << 20)
    before = Path.cwd()
    try:
        os.chdir(folder.path)
        for _ in range(1_100):
            Path("deep").mkdir()
            os.chdir("deep")
        Path("file").touch()
    finally:
        os.chdir(before)
    (Path(folder.path) / "closed").mkdir(mode=0)
    assert folder.too_full() == "made more than 1,000 files" or folder.too_full() is None
    folder.close()
    assert not Path(folder.path).exists()
