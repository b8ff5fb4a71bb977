"""`rollguard record`: executions from options and from files."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime

import pytest

from tests.cli.conftest import Shell

CSV = """\ufefftool_name,success,duration_ms,error,parameters,executed_at,version_number,execution_id
my_tool,TRUE,1.5,,"{""x"": 1}",,,a
my_tool, no ,,"KeyError: 'id'
over two lines",plain text,2026-03-01T12:00:00Z,3,b

my_tool,1,2,,,,,c
"""


def test_one_execution_from_options(shell: Shell) -> None:
    """Options give one execution, and an id that is known already is not stored again."""
    words = ("record", "--tool", "my_tool", "--failure", "--duration-ms", 12.5, "--error", "KeyError: id")
    said = shell.ok(*words, "--execution-id", "a", "--parameters", '{"x": 1}', "--version", 2, "--json").json
    assert said == {"read": 1, "new": 1, "already_stored": 0, "execution_id": "a"}
    assert shell.ok(*words, "--execution-id", "a", "--json").json["already_stored"] == 1
    assert shell.ok(*words, "--executed-at", "2026-03-01T12:00:00").out == "1 execution stored.\n"


def test_csv_cells_become_values(shell_on: Shell) -> None:
    """A byte order mark, booleans, numbers, JSON, quoted newlines and empty cells and lines are understood."""
    file = shell_on.write("calls.csv", CSV)
    assert shell_on.ok("record", "--file", file, "--json").json == {"read": 3, "new": 3, "already_stored": 0}
    assert "0 executions stored, 3 were already known." in shell_on.ok("record", "--file", file).out
    session = shell_on.deploy(1)["session_id"]
    baseline = shell_on.ok("health", "my_tool", "--session", session, "--json").json["baseline"]
    assert (baseline["total_executions"], baseline["successes"], baseline["avg_duration_ms"]) == (2, 2, 1.75)


def test_json_lines_from_stdin(shell_on: Shell) -> None:
    """JSON lines on stdin are stored in batches of any size, and the answer counts new and known ones."""
    now = datetime.now(UTC).isoformat()
    lines = [
        json.dumps({"tool_name": "my_tool", "success": i % 5 > 0, "executed_at": now, "execution_id": str(i % 2400)})
        for i in range(2500)
    ]
    said = shell_on.ok("record", "--file", "-", "--json", stdin="\n".join(lines)).json
    assert said == {"read": 2500, "new": 2400, "already_stored": 100}
    assert shell_on.executions() == 2400


def test_csv_from_stdin_needs_its_format_said(shell: Shell) -> None:
    """`--file - --format csv` reads CSV from stdin."""
    assert shell.ok("record", "--file", "-", "--format", "csv", "--json", stdin=CSV).json["new"] == 3


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.csv"])
def test_wrong_line_stores_nothing_of_the_file(shell_on: Shell, name: str) -> None:
    """When a line among thousands is wrong, the error names its number and nothing before or after it is stored."""
    if name.endswith(".csv"):
        good = "my_tool,true,1"
        lines = ["tool_name,success,duration_ms", *[good] * 1500, "my_tool,true,-1", *[good] * 800]
    else:
        good = json.dumps({"tool_name": "my_tool", "success": True})
        bad = json.dumps({"tool_name": "my_tool", "success": True, "duration_ms": -1})
        lines = [*[good] * 1501, bad, *[good] * 800]
    ran = shell_on.run("record", "--file", shell_on.write(name, "\n".join(lines)))
    assert ran.exit_code == 1
    assert "line 1502: duration_ms: -1" in ran.err
    assert "nothing of it was stored" in ran.err
    assert shell_on.executions() == 0


def test_line_of_a_csv_error_is_where_its_row_begins(shell: Shell) -> None:
    """A row that spans lines is named by its first one."""
    content = 'tool_name,success,error\na,true,"one\ntwo"\na,maybe,"three\nfour"\n'
    ran = shell.run("record", "--file", shell.write("calls.csv", content))
    assert "line 4: success: 'maybe' is neither true nor false" in ran.err


def test_empty_file_stores_nothing(shell: Shell) -> None:
    """A file without executions is no error."""
    for name in ("calls.jsonl", "calls.csv"):
        assert shell.ok("record", "--file", shell.write(name, ""), "--json").json["new"] == 0


def test_named_pipe_is_read(shell: Shell) -> None:
    """A pipe, as a shell's <(...) makes one, can be given as the file."""
    pipe = shell.folder / "pipe.jsonl"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=pipe.write_text, args=('{"tool_name": "my_tool", "success": true}\n',))
    feeder.start()
    assert shell.ok("record", "--file", pipe, "--json").json["new"] == 1
    feeder.join()
