"""Text from outside cannot pretend to be Rollguard's own: no control of the terminal, no line of its own."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollguard.model.event import Event, EventKind, Level
from rollguard.model.log import Log, logger_of
from rollguard.model.text import one_line, printable
from rollguard.notify import LogNotifier
from tests.cli.conftest import Shell
from tests.conftest import examples

FORGED = "FORGED: all is well"
NASTY = (
    "\x1b[2J\x1b]0;title\x07",  # a terminal's commands
    "\x9b31m\x85\x90\x7f",  # the same in one character each, above 127
    "\r\n\x0b\x0c\u2028\u2029",  # ends of lines
    "\u202e\u2066\u200f\u061c",  # the order of characters
    "[bold red][/]:warning: 'quoted' \\",  # markup
)
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9))
HOSTILE = TEXTS.map(lambda parts: "x" + "".join(parts) + f"\n{FORGED}\r{FORGED}\x85{FORGED}")
ECHO = "def echo(text, fail=False):\n    if fail:\n        raise ValueError(text)\n    return {text: text}\n"
EVERYWHERE = {
    "tool_versions": ("reason", "created_by"),
    "tool_deployments": ("reason", "deployed_by"),
    "deployment_monitoring": ("notes",),
    "deployment_rollbacks": ("reason", "error", "requested_by", "output", "verification_note"),
    "quarantined_code": ("reason",),
    "tool_executions": ("error", "error_type"),
    "notifications": ("last_error",),
}
NAMED = ("deployment_monitoring", "deployment_rollbacks", "quarantined_code", "deployment_health_checks")
COMMANDS = (
    ("status",),
    ("sessions",),
    ("rollbacks",),
    ("quarantine",),
    ("stability",),
    ("tools",),
    ("doctor",),
    ("history", "echo"),
    ("versions", "echo"),
    ("show", "echo", "2"),
    ("diff", "echo", "1", "2"),
    ("explain", "1"),
    ("explain", "2"),
    ("health", "echo"),
)


@pytest.fixture
def story(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Every kind of row that a command shows: of a tool, and of one whose name another program wrote."""
    monkeypatch.setenv("COLUMNS", "100000")
    monkeypatch.setenv("NO_COLOR", "1")
    for tool in ("echo", "other"):
        for version in (1, 2):
            code = f"{ECHO.replace('echo', tool)}# {version}\n"
            shell.ok("deploy", "-", "--tool", tool, stdin=code)
        shell.run("health", tool)
        shell.ok("rollback", tool, "--reason", "r", "--quarantine", "--yes")
    shell.ok("deploy", "-", "--tool", "echo", stdin=f"{ECHO}# 3\n")
    shell.ok("deploy", "-", "--tool", "other", stdin=f"{ECHO.replace('echo', 'other')}# 3\n")
    return shell


def _write(database: Path, text: str) -> None:
    """Let another program write the text wherever a text may be."""
    with sqlite3.connect(database) as connection:
        for table, columns in EVERYWHERE.items():
            connection.execute(f"UPDATE {table} SET " + ", ".join(f"{c} = :text" for c in columns), {"text": text})
        for table in NAMED:
            connection.execute(f"UPDATE {table} SET tool_name = :text WHERE tool_name <> 'echo'", {"text": text})
        connection.execute("UPDATE deployment_health_checks SET reasons = ?", (json.dumps([text]),))
        connection.execute("UPDATE deployment_monitoring SET baseline_notes = ?", (json.dumps([text]),))


def _neutral(shown: str) -> None:
    assert [c for c in shown if not (c.isprintable() or c == "\n")] == []
    assert [line for line in shown.split("\n") if line.strip(" │•").startswith(FORGED)] == []


@examples(2)
@given(text=HOSTILE)
@example(text="".join(NASTY) + f"\n{FORGED}")
def test_no_command_lets_a_text_control_the_terminal(story: Shell, text: str) -> None:
    """Reasons, notes, errors and names with any characters are escaped on one line by every command; JSON is exact."""
    _write(story.folder / "rollguard.db", text)
    for words in COMMANDS:
        ran = story.run(*words)
        _neutral(ran.out)
        _neutral(ran.err)
    as_json = story.ok("rollbacks", "--json")
    _neutral(as_json.out)
    assert as_json.json[0]["reason"] == text
    assert story.ok("history", "echo", "--json").json["versions"][0]["reason"] == text
    assert text in {session["notes"] for session in story.ok("sessions", "--json").json}


@examples(3)
@given(text=HOSTILE)
@example(text="".join(NASTY) + f"\n{FORGED}")
def test_what_a_person_gives_comes_back_neutralised(story: Shell, text: str) -> None:
    """Results and errors of a call, arguments of any command: escaped on one line, and a result is still its JSON."""
    given_text = json.dumps(text)
    ran = story.ok("call", "echo", f"text={given_text}")
    _neutral(ran.out)
    assert ran.json == {text: text}
    ran = story.run("call", "echo", f"text={given_text}", "fail=true")
    _neutral(ran.err)
    assert ran.exit_code == 4
    for words in (("history", text), ("explain", text), (text,), ("status", f"--{text}"), ("simulate", text)):
        ran = story.run(*words)
        _neutral(ran.out)
        _neutral(ran.err)
        assert ran.exit_code != 0


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the program's own handler writes of `rollguard`'s log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.getLogger("rollguard")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


@given(text=HOSTILE)
def test_one_event_is_one_line_of_the_log(lines: io.StringIO, text: str) -> None:
    """An alert and an error with its cause are one line each in any handler; the record keeps the exact event."""
    lines.truncate(0)
    event = Event(EventKind.ROLLED_BACK, Level.CRITICAL, text, 1, text, (text, text), text)
    LogNotifier().notify(event)
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError:
        logger_of("rollguard.test").exception("it failed for %s and %r", text, text)
    written = lines.getvalue().lstrip("\0")
    _neutral(written)
    assert written.count("\n") == 2
    assert "ValueError" in written
    assert "KeyError" in written


@given(text=st.text(st.characters(), max_size=40))
def test_neutral_text_keeps_what_people_read(text: str) -> None:
    """What can be printed stays as it is; nothing else is left."""
    assert one_line(text).isprintable()
    assert printable(text).count("\n") == text.count("\n")
    assert "".join(printable(c) for c in text if c.isprintable()) == "".join(c for c in text if c.isprintable())


def test_every_module_logs_through_the_one_function() -> None:
    """No module makes a logger of its own, which would write texts as they are."""
    source = Path(__file__).parents[2] / "src/rollguard"
    own = [file.name for file in source.rglob("*.py") if "logging.getLogger(__name__" in file.read_text()]
    assert own == []


class Broken(logging.Handler):
    """A handler that raises what the logging package does not expect."""

    def emit(self, record: logging.LogRecord) -> None:
        raise BaseException("the log's disk is gone")


def test_a_handler_that_fails_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A message whose handler raises anything goes to stderr, and its thread goes on."""
    log: Log = logger_of("rollguard.broken")
    handler = Broken()
    log.logger.addHandler(handler)
    log.warning("it is %s", "late\nFORGED")
    log.logger.removeHandler(handler)
    said: Any = capsys.readouterr().err
    assert said == "WARNING: it is late\\nFORGED (on stderr, because a log handler failed with BaseException)\n"
