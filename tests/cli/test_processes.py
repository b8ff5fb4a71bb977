"""The command as a process: signals, terminals, pipes and exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard import __version__
from tests.cli.conftest import Shell, read_until

WAITS = """
import sys, threading

def waits():
    print("waiting", file=sys.stderr, flush=True)
    threading.Event().wait()
"""


def test_exit_codes_reach_the_shell(shell: Shell) -> None:
    """The process's own exit codes are the documented ones."""
    for words, exit_code in (
        (("tools",), 0),
        (("history", "nope"), 1),
        (("history",), 2),
        (("call", "calculate", "expression=1/0"), 4),
    ):
        process = shell.start(*words)
        _out, err = process.communicate()
        assert process.returncode == exit_code, err
        assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch_stops_cleanly_on_a_signal(shell_on: Shell, number: signal.Signals) -> None:
    """`watch` rolls back what regressed, and ends with 0 and its totals when it is told to stop."""
    shell_on.deploy(1)
    shell_on.calls(20, 0)
    shell_on.deploy(2)
    shell_on.calls(5, 15)
    process = shell_on.start("watch", "--interval", "1", "--json")
    read_until(process.stderr, "AUTO-ROLLBACK")
    read_until(process.stderr, "cycle 2")
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "stopped after" in err
    assert json.loads(out)["rollbacks_triggered"] == 1
    assert shell_on.ok("history", "my_tool", "--json").json["live_version"] == 1


def test_commands_handle_sigterm(shell: Shell) -> None:
    """A command handles SIGTERM, so that what it recorded is stored before it ends."""
    shell.ok(
        "deploy", shell.write("handler.py", "import signal\ndef handler(): return signal.getsignal(15).__module__\n")
    )
    out, err = shell.start("call", "handler").communicate()
    assert json.loads(out) == "rollguard.record.signals", err


def test_watch_once_fails_when_a_rollback_did(shell: Shell) -> None:
    """`watch --once` ends with 1 when something that was needed could not be done."""
    shell.calls(20, 0)
    shell.deploy(1)
    shell.calls(0, 20)
    ran = shell.run("watch", "--once", "--json")
    assert ran.exit_code == 1
    assert ran.json["rollbacks_failed"] == 1


def test_live_status_ends_with_ctrl_c(shell: Shell) -> None:
    """`status --watch` goes on until Ctrl-C, which ends it with 0."""
    shell.deploy(1)
    process = shell.start("status", "--watch", "--interval", "0.2")
    read_until(process.stdout, "my_tool")
    read_until(process.stdout, "my_tool")
    process.send_signal(signal.SIGINT)
    out_and_err = process.communicate()
    assert process.returncode == 0, out_and_err


def test_live_status_on_a_terminal(shell: Shell) -> None:
    """On a terminal the table is drawn again in place."""
    shell.deploy(1)
    master, slave = pty.openpty()
    process = shell.start("status", "--watch", "--interval", "0.2", stdout=slave)
    os.close(slave)
    seen = b""
    while seen.count(b"my_tool") < 3:
        seen += os.read(master, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    os.close(master)


@pytest.mark.parametrize(("answer", "exit_code", "live"), [(b"n\n", 1, 2), (b"y\n", 0, 1)])
def test_rollback_asks_at_a_terminal(shell: Shell, answer: bytes, exit_code: int, live: int) -> None:
    """At a terminal a rollback happens only after a yes."""
    shell.deploy(1)
    shell.deploy(2)
    master, slave = pty.openpty()
    process = shell.start("rollback", "my_tool", "--reason", "x", stdin=slave)
    os.close(slave)
    os.write(master, answer)
    out, err = process.communicate()
    os.close(master)
    assert "from version 2 to version 1?" in err
    assert "?" not in out
    assert process.returncode == exit_code
    assert shell.ok("history", "my_tool", "--json").json["live_version"] == live


def test_yes_is_not_asked(shell: Shell) -> None:
    """--yes answers beforehand."""
    shell.deploy(1)
    shell.deploy(2)
    master, slave = pty.openpty()
    process = shell.start("rollback", "my_tool", "--reason", "x", "--yes", stdin=slave)
    os.close(slave)
    _out, err = process.communicate()
    os.close(master)
    assert (process.returncode, "?" in err) == (0, False)


def test_reader_that_went_away_is_no_error(shell: Shell) -> None:
    """Output into a closed pipe ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    process = shell.start("tools", "--json", stdout=writer)
    os.close(writer)
    _out, err = process.communicate()
    assert (process.returncode, err) == (141, "")


def test_progress_is_shown_on_a_terminal_only(shell: Shell) -> None:
    """A bar is drawn on stderr when that is a terminal; elsewhere nothing is."""
    file = shell.write("calls.jsonl", '{"tool_name": "my_tool", "success": true}\n' * 3000)
    assert shell.ok("record", "--file", file).err == ""
    master, slave = pty.openpty()
    process = shell.start("record", "--file", file, stderr=slave)
    os.close(slave)
    seen = os.read(master, 64)
    out, _err = process.communicate()
    os.close(master)
    assert seen
    assert out == "3,000 executions stored.\n"


def test_interrupt_is_130(shell: Shell) -> None:
    """Ctrl-C in a command that is not made to be stopped so gives 130, and no traceback."""
    shell.ok("deploy", "-", "--tool", "waits", stdin=WAITS)
    process = shell.start("call", "waits")
    read_until(process.stderr, "waiting")
    process.send_signal(signal.SIGINT)
    _out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err


def test_no_color_is_honoured(shell: Shell, with_env: Callable[[str, str], None]) -> None:
    """NO_COLOR leaves a terminal's output without colours."""
    shell.deploy(1)
    shell.run("health", "my_tool")
    with_env("NO_COLOR", "1")
    master, slave = pty.openpty()
    process = shell.start("status", stdout=slave)
    os.close(slave)
    assert process.wait() == 0
    seen = os.read(master, 65_536)
    os.close(master)
    assert b"my_tool" in seen
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]m", seen)


def test_terminal_without_umlauts_gets_escapes(shell: Shell, with_env: Callable[[str, str], None]) -> None:
    """A stdout that cannot show a character gets an escape, not an error."""
    with_env("PYTHONIOENCODING", "ascii")
    process = shell.start("deploy", "-", "--tool", "größe")
    _out, err = process.communicate()
    assert process.returncode == 1
    assert "gr\\xf6\\xdfe" in err
    assert shell.start("sessions").wait() == 0


def test_version_and_script(shell: Shell) -> None:
    """`--version` says which Rollguard it is, through the installed script too."""
    assert shell.ok("--version").out == f"rollguard {__version__}\n"
    script = Path(sys.executable).with_name("rollguard")
    assert subprocess.check_output([script, "--version"], text=True) == f"rollguard {__version__}\n"
