"""A program that repairs: what it is given, what is read back, and how each bad end of it ends here."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rollguard.errors import ImproverFailed, InvalidInput
from rollguard.improve import Case, CheckRules, CommandImprover
from rollguard.improve.check import BAD, GOOD, NOT_RUN, main
from rollguard.improve.work_folder import write_folder
from rollguard.rehearse import RehearsalRules
from tests.improve.helpers import OLD, RIGHT, a_brief
from tests.rehearse.running import in_process

CALLS = {
    "failing": tuple(
        Case(call_id=f"b{n}", parameters={"amount": f"{n},000"}, success=False, signature="ValueError")
        for n in range(1, 6)
    ),
    "passing": (
        Case(call_id="g", parameters={"amount": "7"}, success=True, result='{"total": 7.0, "currency": "EUR"}'),
    ),
}


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], CommandImprover]:
    """An improver that runs a shell script, which takes a hundredth of the time of Python."""

    def make(body: str, **given: Any) -> CommandImprover:
        file = tmp_path / "improve.sh"
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o700)
        (tmp_path / "right.py").write_text(RIGHT)
        environment = {"PATH": os.environ["PATH"]} | given.pop("environment", {})
        return CommandImprover(["./improve.sh", "{project}"], project=tmp_path, environment=environment, **given)

    return make


def test_it_edits_the_file(script: Callable[..., CommandImprover], tmp_path: Path) -> None:
    """It works in a private folder with the brief, the calls and a check, and only its `tool.py` is read back."""
    seen = tmp_path / "seen"
    improver = script(
        f'ls -l > {seen}; pwd >> {seen}; cat > {tmp_path}/stdin; cp "$1/right.py" tool.py; touch other.py'
    )
    proposal = improver.propose(a_brief(**CALLS))
    assert proposal is not None
    assert (proposal.source, proposal.author, proposal.model) == (RIGHT.encode(), "command", None)
    assert "$.amount has a comma" in proposal.reason
    told = (tmp_path / "stdin").read_text()
    assert told.startswith("# Repair the tool price")
    assert "Edit `tool.py` in this folder" in told
    assert proposal.prompt_sha256 is not None
    assert proposal.prompt_sha256 in proposal.version_reason
    for name in ("brief.md", "brief.json", "cases.json", "tool.py", "check", "check.py"):
        assert f" {name}\n" in seen.read_text()
    folder = Path(seen.read_text().splitlines()[-1])
    assert not folder.exists()


def test_it_prints_the_source(script: Callable[..., CommandImprover]) -> None:
    """It may print the source instead, alone or as the only block of code; silence is no proposal."""
    for body in (
        'cat "$1/right.py"',
        "printf 'I fixed it:\\n\\n```python\\n'; cat \"$1/right.py\"; printf '```\\nDone.\\n'",
    ):
        proposal = script(body).propose(a_brief())
        assert proposal is not None
        assert proposal.source == RIGHT.encode()
    assert script("true").propose(a_brief()) is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo I cannot do that", "neither changed tool.py nor printed"),
        ("echo went wrong >&2; exit 3", "ended with exit code 3"),
        ('cp "$1/right.py" tool.py; kill -9 $$', "ended with exit code -9"),
        ("rm tool.py; ln -s /etc/passwd tool.py", "cannot be read"),
        ("rm tool.py; mkdir tool.py", "no plain file"),
        ("rm tool.py; mkfifo tool.py", "no plain file"),
        ('rm tool.py; ln "$1/right.py" tool.py', "no plain file"),
        ("rm tool.py", "cannot be read"),
        ("head -c 200000 /dev/zero > tool.py", "larger than 131,072 bytes"),
        ('cd ..; mv "$OLDPWD" "$1/moved"; ln -s "$1" "$OLDPWD"; exit 5', "exit code 5"),
    ],
)
def test_what_is_not_read_back(script: Callable[..., CommandImprover], body: str, problem: str) -> None:
    """Nonsense, errors, links, pipes, folders and too much are failures, each named."""
    with pytest.raises(ImproverFailed, match=problem):
        script(body).propose(a_brief())


def test_its_output_is_kept_without_secrets(script: Callable[..., CommandImprover]) -> None:
    """The ends of both outputs are kept, without secrets of the environment and those known by their form."""
    improver = script(
        'echo "used $MY_API_KEY"; echo "token=abcdefgh123" >&2; exit 1', environment={"MY_API_KEY": "very-secret-value"}
    )
    with pytest.raises(ImproverFailed) as raised:
        improver.propose(a_brief())
    assert raised.value.output == "used ***\ntoken=***"


def test_only_the_listed_variables(
    script: Callable[..., CommandImprover], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It sees the variables that it is given and no others of this process."""
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    script(f"/usr/bin/env > {tmp_path}/env", environment={"GIVEN": "1"}).propose(a_brief())
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "GIVEN"}


class Clock:
    """A clock by which no time goes by until a file is there, and then an hour."""

    def __init__(self, file: Path) -> None:
        self._file, self._asked = file, False

    def monotonic(self) -> float:
        first, self._asked = not self._asked, True
        return 0.0 if first or not self._file.exists() else 3_600.0


def test_one_that_takes_an_hour(
    script: Callable[..., CommandImprover], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over it is killed with all that it started, and what it would have answered is not taken."""
    lock, ready = tmp_path / "lock", tmp_path / "ready"
    monkeypatch.setattr("rollguard.sandbox.command.time", Clock(ready))
    improver = script(
        f'exec 9> {lock}; flock 9; (exec sleep 3600) & cp "$1/right.py" tool.py; echo busy; touch {ready}; sleep 3600',
        timeout=900.0,
    )
    with pytest.raises(ImproverFailed, match="took longer than 900 s") as raised:
        improver.propose(a_brief())
    assert raised.value.output == "busy"
    with lock.open("w") as free:  # as soon as nobody holds it any more
        fcntl.flock(free, fcntl.LOCK_EX)


def test_what_it_left_running_ends(script: Callable[..., CommandImprover], tmp_path: Path) -> None:
    """A program that ends in time leaves nothing behind that runs."""
    lock = tmp_path / "lock"
    script(f"exec 9> {lock}; flock 9; (exec sleep 3600) > /dev/null 2>&1 &").propose(a_brief())
    with lock.open("w") as free:
        fcntl.flock(free, fcntl.LOCK_EX)


@pytest.mark.parametrize(
    ("body", "problem"), [("yes", "printed more than 16 MiB"), ("yes > much", "wrote more than 268,435,456 bytes")]
)
def test_one_that_writes_without_end(script: Callable[..., CommandImprover], body: str, problem: str) -> None:
    """A program that runs wild is killed long before it fills the disk; the end of its output is kept."""
    with pytest.raises(ImproverFailed, match=problem) as raised:
        script(body).propose(a_brief())
    assert len(raised.value.output) <= 16_384


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """A program that cannot be started is named, and so is what is no program."""
    with pytest.raises(ImproverFailed, match="/no/such/program cannot be started"):
        CommandImprover(["/no/such/program"]).propose(a_brief())
    for nothing in ([], "improve.sh", [5]):
        with pytest.raises(InvalidInput, match="not a list of a program"):
            CommandImprover(nothing)  # type: ignore[arg-type]


# --- the check of the work folder -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A work folder for a tool that may be run."""
    write_folder(tmp_path, a_brief(**CALLS), CheckRules(RehearsalRules(read_only=True, unwitnessed="pass")))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        (RIGHT, GOOD, "5 fixed, 0 broken"),
        (OLD, BAD, "fixes none of 5 recorded failures"),
        (RIGHT.replace("* count", "/ 0"), BAD, "it breaks 1 of 6 recorded calls"),
        (RIGHT.replace("def price", "def cost"), BAD, "no tool in it"),
        ("def price(:", BAD, "cannot be loaded"),
    ],
)
def test_the_check_says_what_the_gate_says(
    folder: Path, capsys: pytest.CaptureFixture[str], source: str, code: int, said: str
) -> None:
    """The check of a work folder runs the shown calls by the gate's rules, and its exit code says how it went."""
    (folder / "tool.py").write_text(source)
    assert main(folder, run=in_process) == code
    assert said in capsys.readouterr().out


def test_the_check_of_a_tool_that_may_not_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tool with side effects is not run by the check; only its source is looked at."""
    write_folder(tmp_path, a_brief(**CALLS), CheckRules())
    (tmp_path / "tool.py").write_text(RIGHT)
    assert main(tmp_path, run=lambda *_: pytest.fail("it was run")) == GOOD
    assert "it was not run" in capsys.readouterr().out


def test_a_check_without_a_sandbox(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the sandbox is not complete, nothing is run and the exit code says that."""
    from rollguard.errors import SandboxUnavailable

    def run(*_given: Any) -> Any:
        raise SandboxUnavailable("this kernel has no Landlock")

    (folder / "tool.py").write_text(RIGHT)
    assert main(folder, run=run) == NOT_RUN
    assert "no Landlock" in capsys.readouterr().out


@pytest.mark.long
def test_check_runs_from_the_folder(script: Callable[..., CommandImprover], tmp_path: Path) -> None:
    """`./check` runs in the work folder as it is, in the sandbox: before the repair it refuses, after it it passes."""
    improver = script(
        './check > "$1/before"; echo $? >> "$1/before"; cp "$1/right.py" tool.py; ./check > "$1/after"; '
        'echo $? >> "$1/after"',
        check=lambda _tool: CheckRules(RehearsalRules(read_only=True, unwitnessed="pass")),
    )
    improver.propose(a_brief(**CALLS))
    assert "fixes none" in (tmp_path / "before").read_text()
    assert (tmp_path / "before").read_text().endswith("\n1\n")
    assert "5 fixed" in (tmp_path / "after").read_text()
    assert (tmp_path / "after").read_text().endswith("\n0\n")
