"""Bad input gives an error that says what is wrong and the right exit code; never a traceback, never half a change."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.conftest import code

ONE_FILE = {"my_tool.py": code(1)}
OF_BOTH = ("rollback", "my_tool", "--release", "v1", "--reason", "x")


@dataclass(frozen=True)
class Bad:
    """One row of the table: what is there beforehand, what is typed, and what must come of it."""

    name: str
    words: tuple[str, ...]
    says: str
    exit_code: int = 1
    stdin: str | bytes = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    prepare: Callable[[Shell], object] | None = None


def call(name: str, words: tuple[str, ...], says: str) -> Bad:
    """A call with invalid parameters."""
    return Bad(name, ("call", "calculate", *words), says, exit_code=2)


def deploy(name: str, code: str | bytes, says: str) -> Bad:
    """Code that cannot be deployed."""
    return Bad(name, ("deploy", "-", "--tool", "t"), says, stdin=code)


def json_line(name: str, line: str | bytes, says: str) -> Bad:
    """A line that is no execution."""
    return Bad(f"JSON line {name}", ("record", "--file", "-"), says, stdin=line)


def csv(name: str, content: str | bytes, says: str) -> Bad:
    """A CSV file that holds no executions."""
    return Bad(f"CSV {name}", ("record", "--file", "a.csv"), says, files={"a.csv": content})


def toml(name: str, content: str | bytes, says: str) -> Bad:
    """Settings that are invalid."""
    return Bad(name, ("tools",), says, files={"rollguard.toml": content})


def scenario(name: str, content: str | bytes, says: str) -> Bad:
    """A file that is no scenario."""
    return Bad(f"scenario {name}", ("simulate", "a.toml"), says, files={"a.toml": content})


def newer_schema(shell: Shell) -> None:
    shell.ok("tools")
    with contextlib.closing(sqlite3.connect(shell.folder / "rollguard.db")) as database, database:
        database.execute("UPDATE rollguard_schema_version SET version_num = '9999'")


def deployed(shell: Shell) -> None:
    shell.deploy(1)


def rolled_back(shell: Shell) -> None:
    shell.deploy(1)
    shell.deploy(2)
    shell.ok("rollback", "my_tool", "--reason", "x", "--quarantine")


NOTE = ("deploy", "-", "--tool", "my_tool")
RECORD = ("record", "--tool", "t", "--success")
STRICT = ("deploy", "-", "--tool", "my_tool", "--strict")
ROLL_BACK = ("rollback", "my_tool", "--reason", "x")
TABLE = [
    Bad("unknown tool: call", ("call", "nope"), "there is no tool 'nope'"),
    Bad("unknown tool: health", ("health", "nope"), "nope has no monitoring session"),
    Bad("unknown tool: show", ("show", "nope"), "nope is not known"),
    Bad("unknown tool: diff", ("diff", "nope"), "nope has no versions"),
    Bad("unknown tool: versions", ("versions", "nope"), "nope has no versions"),
    Bad("unknown tool: rollback", ("rollback", "nope", "--reason", "x"), "nope was never deployed"),
    Bad("impossible tool name", ("call", "my tool"), "cannot name a tool's file"),
    Bad("unknown session: cancel", ("cancel", "99", "--reason", "x"), "no monitoring session 99"),
    Bad("unknown session: health", ("health", "calculate", "--session", "99"), "no monitoring session 99"),
    Bad("session of another tool", ("health", "calculate", "--session", "1"), "watches my_tool", prepare=deployed),
    Bad("impossible session", ("cancel", "0", "--reason", "x"), "not a session's number"),
    Bad("session of an unknown tool", ("cancel", "one", "--reason", "x"), "one has no monitoring session"),
    call("k=v without =", ("expression",), "not of the form name=value"),
    call("k=v without k", ("=1",), "not of the form name=value"),
    call("k=v twice", ("a=1", "a=2"), "given twice"),
    call("params that are no JSON", ("--params", "{a"), "not JSON"),
    call("params that are no object", ("--params", "[1]"), "give a JSON object"),
    Bad("missing file: deploy", ("deploy", "nope.py"), "nope.py cannot be read: No such file"),
    Bad("unknown tool: rehearse", ("rehearse", "nope", "-"), "nope has no live version"),
    Bad("missing file: rehearse", ("rehearse", "calculate", "nope.py"), "nope.py cannot be read: No such file"),
    Bad("missing file: record", ("record", "--file", "nope.csv"), "nope.csv cannot be read: No such file"),
    Bad("missing file: config", ("tools", "--config", "nope.toml"), "cannot be read: No such file"),
    Bad("folder for a file: deploy", ("deploy", "tools"), "tools is a folder without __init__.py"),
    Bad("folder for a file: record", ("record", "--file", "tools", "--format", "csv"), "Is a directory"),
    Bad("folder for a file: config", ("tools", "--config", "tools"), "Is a directory"),
    Bad("file for a folder: init", ("init", "rollguard.toml"), "give another folder"),
    toml("file for a folder: tools", 'tools_dir = "rollguard.toml"', "folder of tools"),
    Bad("code from stdin without a name", ("deploy", "-"), "give one with --tool", 2, stdin=code(1)),
    deploy("code with a syntax error", "def t(:\n", "SyntaxError"),
    deploy("code without a tool", "x = 1\n", "no tool in it"),
    deploy("code that is not UTF-8", b"def t():\n  '\xff'\n", "cannot be loaded"),
    Bad("file name that no tool may have", ("deploy", "a+b c.py"), "with --tool", files={"a+b c.py": code(1)}),
    Bad("unknown kind", ("deploy", "-", "--tool", "t", "--kind", "x"), "kind: 'x'", stdin=code(1, "t")),
    Bad("code that breaks callers", STRICT, "would break callers", 5, stdin="def my_tool(y): 0", prepare=deployed),
    json_line("that is no JSON", '{"tool_name": "t", "success": true}\n{\n', "stdin, line 2: not JSON"),
    json_line("that is no object", "[]\n", "line 1: it is not a JSON object"),
    json_line("with NaN", '{"duration_ms": NaN}', "not JSON: NaN"),
    json_line("nested too deeply", "[" * 200_000, "nested too deeply"),
    json_line("without success", '{"tool_name": "t"}', "line 1: success: missing"),
    json_line("with text for a truth", '{"tool_name": "t", "success": "yes"}', "line 1: success: 'yes'"),
    json_line("with a bad time", '{"tool_name": "t", "success": true, "executed_at": 5}', "line 1: executed_at: 5"),
    json_line("with an unknown field", '{"tool_name": "t", "success": true, "x": 1}', "line 1: x: unknown field"),
    json_line("that is not UTF-8", b"\n{\xff}", "line 2: it is not UTF-8"),
    csv("with an unknown column", "tool_name,success,colour\n", "line 1: unknown column 'colour'"),
    csv("with a column twice", "tool_name,success,success\n", "comes twice"),
    csv("without success", "tool_name\nt\n", "no column 'success'"),
    csv("with a short row", "tool_name,success\nt\n", "line 2: it has 1 cells"),
    csv("with an open quote", 'tool_name,success\n"t,1\n', "line 2: not CSV"),
    csv("with a bad number", "tool_name,success,duration_ms\nt,1,slow\n", "line 2: duration_ms: 'slow'"),
    csv("with a bad version", "tool_name,success,version_number\nt,1,1.5\n", "line 2: t has no version 1.5"),
    csv("with a bad time", "tool_name,success,executed_at\nt,1,noon\n", "line 2: executed_at: 'noon'"),
    csv("with an empty tool", "tool_name,success\n,1\n", "line 2: tool_name: missing"),
    csv("that is not UTF-8", "tool_name,success\n\u00e9,1\n".encode("latin-1"), "line 2: it is not UTF-8"),
    Bad("format not known by the name", ("record", "--file", "a.txt"), "give --format", files={"a.txt": ""}),
    Bad("unknown format", ("record", "--file", "a.csv", "--format", "xml"), "xml", 2),
    Bad("file and options together", (*RECORD, "--file", "a.csv"), "leave out the options", 2),
    Bad("negative duration", (*RECORD, "--duration-ms", "-1"), "duration_ms: -1.0"),
    Bad("duration that is no number", (*RECORD, "--duration-ms", "slow"), "--duration-ms", 2),
    Bad("bad time", (*RECORD, "--executed-at", "noon"), "ISO 8601", 2),
    Bad("impossible version", (*RECORD, "--version", "0"), "version_number: 0"),
    Bad("record without an outcome", ("record", "--tool", "t"), "--success or --failure", 2),
    Bad("unknown version", (*ROLL_BACK, "--to", "9"), "has no version 9", prepare=deployed),
    Bad("unknown version: show", ("show", "my_tool", "9"), "has no version 9; it has 1", prepare=deployed),
    Bad("unknown version: diff", ("diff", "my_tool", "1", "9"), "has no version 9; it has 1", prepare=deployed),
    Bad("version that is no label", ("show", "my_tool", "one"), "has no version one; it has 1", prepare=deployed),
    Bad("code as JSON", ("show", "my_tool", "1", "--code", "--json"), "leave out one of", 2, prepare=deployed),
    Bad("nothing to go back to", ROLL_BACK, "no earlier good version", prepare=deployed),
    Bad("rolled-back code", ("deploy", "-", "--tool", "my_tool"), "--force", stdin=code(2), prepare=rolled_back),
    Bad("version in no quarantine", ("quarantine", "--lift", "my_tool", "1"), "not in quarantine", prepare=deployed),
    Bad("--lift without a version", ("quarantine", "--lift", "my_tool"), "2 arguments", 2),
    Bad("deployed elsewhere, in the folder", (*NOTE, "--already-live"), "has no actuator", stdin=code(1)),
    Bad("release of no file", ("release", "v1"), "FILE", 2),
    Bad("release under a number", ("release", "7", "my_tool.py"), "could be a version's number", files=ONE_FILE),
    Bad("release with odd metadata", ("release", "v1", "my_tool.py", "--metadata", "1"), "give a JSON object", 2),
    Bad("unknown release", ("releases", "v9"), "there is no release v9"),
    Bad("unknown release: rollback", ("rollback", "--release", "v9", "--reason", "x"), "there is no release v9"),
    Bad("rollback of nothing", ("rollback", "--reason", "x"), "name the tool, or a release", 2),
    Bad("rollback of a release and a tool", OF_BOTH, "leave out TOOL", 2),
    Bad("missing folder: sync", ("sync", "nope"), "nope is not a folder"),
    Bad("rollback without a reason", ("rollback", "my_tool"), "--reason", 2),
    Bad("rollback with an empty reason", ("rollback", "my_tool", "--reason", " "), "say why", 2),
    Bad("cancel without a reason", ("cancel", "1"), "--reason", 2),
    Bad("unknown status", ("sessions", "--status", "odd"), "odd", 2),
    Bad("impossible limit", ("rollbacks", "--limit", "0"), "limit", 2),
    Bad("impossible interval", ("watch", "--once", "--interval", "0"), "check_interval_seconds: 0.0"),
    Bad("unknown scenario", ("simulate", "nope"), "no such scenario; give a file, or one of daily, drop20"),
    Bad("missing file: simulate", ("simulate", "nope.toml"), "nope.toml cannot be read: No such file"),
    Bad("folder for a file: simulate", ("simulate", "tools"), "tools cannot be read: Is a directory"),
    scenario("that is no TOML", "tools", "a.toml is not valid TOML"),
    scenario("that is not UTF-8", b"# \xff\n", "a.toml is not valid TOML"),
    scenario("with an unknown key", "[traffic]\ncalls = 1\n", "traffic.calls: unknown key; the known ones are calls"),
    scenario("with an unknown table", "[weather]\n", "weather: unknown key; the known ones are about, seed"),
    scenario("with a rate above 1", "[success]\nbefore = 95\n", "success.before: 95: input should be less than or"),
    scenario("with text for a number", 'tools = "many"\n', "tools: 'many': input should be a valid integer"),
    scenario("with no kind of error", "[errors]\n", "errors: {}: "),
    Bad("impossible number of runs", ("simulate", "steady", "--runs", "0"), "--runs", 2),
    Bad(
        "backtest without a deployment", ("backtest",), "no deployment was ever watched, so there is nothing to replay"
    ),
    Bad("backtest of an unknown tool", ("backtest", "nope"), "nope has no monitoring session"),
    Bad(
        "backtest since too late", ("backtest", "--since", "2999-01-01T00:00Z"), "no deployment since", prepare=deployed
    ),
    Bad("backtest since no time", ("backtest", "--since", "monday"), "'monday' is neither an age, such as 2d", 2),
    Bad("impossible candidate", ("backtest", "--alpha", "2"), "alpha: 2.0 is not a number above 0 and below 0.5"),
    Bad("unknown rule", ("backtest", "--decision", "gut"), "decision: 'gut' is not one of"),
    Bad("unknown setting of a candidate", ("backtest", "--set", "colour=1"), "colour: unknown setting; the known ones"),
    Bad("candidate's setting without value", ("backtest", "--set", "delta"), "'delta' is not of the form KEY=VALUE", 2),
    Bad("candidate's setting given twice", ("backtest", "--delta", "0", "--set", "delta=1"), "delta is given twice", 2),
    Bad("plot of unknown suffix", ("backtest", "--plot", "a.pdf"), "a.pdf ends with neither .png nor .svg"),
    Bad("plot in a missing folder", ("backtest", "--plot", "no/a.png"), "the folder no does not exist; make it first"),
    Bad("plot over a folder", ("backtest", "--plot", "a.png"), "a.png cannot be written", files={"a.png/x": ""}),
    Bad("live status as JSON", ("status", "--watch", "--json"), "for people", 2),
    Bad("word that is not UTF-8", ("versions", "caf\udce9"), "'caf\\udce9' is not UTF-8 text", 2),
    Bad("unknown command", ("statsu",), "statsu", 2),
    Bad("unknown option", ("status", "--colour"), "--colour", 2),
    Bad("corrupt database", ("tools",), "is not a SQLite database", files={"rollguard.db": b"no database " * 999}),
    Bad("folder for a database", ("tools",), "cannot be opened", files={"rollguard.db/x": ""}),
    Bad("newer schema", ("tools",), "newer Rollguard", prepare=newer_schema),
    toml("unknown key in rollguard.toml", "[monitor]\ncolour = 1\n", "monitor.colour: unknown setting"),
    toml("impossible value in rollguard.toml", "[monitor]\nmin_executions = 0\n", "monitor.min_executions: 0"),
    toml("rollguard.toml that is no TOML", "monitor\n", "not valid TOML"),
    toml("rollguard.toml that is not UTF-8", b"# \xff\n", "not valid TOML"),
    toml("wrong URL", 'database = "nonsense"\n', "is not a database URL"),
    toml("unsupported database", 'database = "mysql://h/d"\n', "not a supported database"),
    toml("database that does not answer", 'database = "postgresql://u@127.0.0.1:1/d"\n', "127.0.0.1"),
]


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_bad_input(shell: Shell, bad: Bad) -> None:
    """Each kind of bad input gives its exit code, a message that names it, and nothing on stdout."""
    for name, content in bad.files.items():
        shell.write(name, content)
    if bad.prepare is not None:
        bad.prepare(shell)
    ran = shell.run(*bad.words, stdin=bad.stdin)
    assert ran.exit_code == bad.exit_code, ran.err
    assert ran.out == ""
    assert bad.says in " ".join(ran.err.replace("│", " ").split())
    if bad.exit_code == 1:
        kinds = [line.partition(": ")[0] for line in ran.err.splitlines()]
        assert kinds.count("error") == 1
        assert set(kinds) <= {"error", "hint", "critical"}, ran.err  # a failed rollback is also an alert, in the log


COMMANDS = [
    ("tools",),
    ("deploy", "tool.py"),
    ("call", "calculate"),
    ("record", "--tool", "t", "--success"),
    ("watch", "--once"),
    ("status",),
    ("health", "calculate"),
    ("rollback", "calculate", "--reason", "x"),
    ("cancel", "1", "--reason", "x"),
    ("sessions",),
    ("history", "calculate"),
    ("versions", "calculate"),
    ("show", "calculate", "1"),
    ("diff", "calculate", "1", "1"),
    ("rollbacks",),
    ("stability",),
    ("quarantine",),
    ("backtest",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_without_settings_every_command_refuses(empty: Shell, words: tuple[str, ...]) -> None:
    """Where nothing says which database is meant, no database is made, and the way out is named."""
    ran = empty.run(*words)
    assert (ran.exit_code, ran.out) == (1, "")
    assert "rollguard init" in ran.err
    assert list(empty.folder.iterdir()) == []


def test_environment_alone_is_settings_enough(empty: Shell, with_env: Callable[[str, str], None]) -> None:
    """ROLLGUARD_DATABASE says which database is meant, so no file is needed."""
    with_env("ROLLGUARD_DATABASE", f"sqlite:///{empty.folder}/other.db")
    assert empty.ok("status", "--json").json["sessions"] == []
    assert (empty.folder / "other.db").is_file()


def test_named_settings_are_used_from_anywhere(empty: Shell, with_env: Callable[[str, str], None]) -> None:
    """--config, before or after the command's name, and ROLLGUARD_CONFIG name the settings."""
    empty.ok("init", "there")
    file = empty.folder / "there/rollguard.toml"
    assert empty.ok("--config", file, "tools", "--json").json == empty.ok("tools", "--json", "--config", file).json
    with_env("ROLLGUARD_CONFIG", str(file))
    assert empty.ok("--json", "tools").json[0]["name"] == "calculate"
    assert not (empty.folder / "rollguard.db").exists()


def test_the_page_of_errors_shows_this_table() -> None:
    """docs/errors.md lists each kind of bad input with what is typed, its exit code and its message, row by row."""
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text("utf-8")
    section = page.partition("## Command line\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| ")][1:] == [_row(bad) for bad in TABLE]


def _row(bad: Bad) -> str:
    words = " ".join(shlex.quote(word) for word in bad.words).encode("ascii", "backslashreplace").decode()
    return f"| {bad.name} | `rollguard {words}` | {bad.exit_code} | {bad.says} |"
