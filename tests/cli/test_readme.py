"""The README works as it is printed, from top to bottom, in an empty folder."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shell, read_until
from tests.processes import finished, python

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDLESS = {"rollguard watch": ("stderr", "monitoring"), "rollguard status --watch": ("stdout", "greet")}
INSTALLING = ("pip install rollguard", "make demo", "make test")  # done before these tests run


@pytest.mark.parametrize("with_settings", [False, True])
def test_every_block_works_in_order(empty: Shell, with_settings: bool) -> None:
    """Each block runs without an error after those above it, whether there is a rollguard.toml or not."""
    if with_settings:
        empty.ok("init")
    blocks, ran = _FENCE.findall(README), 0
    assert blocks[0] == ("sh", "pip install rollguard\n")
    for language, text in blocks:
        if language == "python":
            printed = finished(python(text))
            assert ("Hello, Ada!" in printed) == ("Ada" in text)
            continue
        for line in text.splitlines():
            command = line.partition(" #")[0].strip()
            if command.startswith(INSTALLING):
                continue
            if command in ENDLESS:
                _until_interrupted(empty, command, *ENDLESS[command])
            elif command.startswith("rollguard "):
                empty.ok(*shlex.split(command)[1:])
            else:
                subprocess.run(command, shell=True, check=True, cwd=empty.folder)
            ran += 1
    assert ran >= 10


def _until_interrupted(shell: Shell, command: str, stream: str, says: str) -> None:
    process = shell.start(*command.split()[1:])
    read_until(getattr(process, stream), says)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
