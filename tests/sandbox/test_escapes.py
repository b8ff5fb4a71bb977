"""Code in the sandbox tries to break out in more than a hundred ways, started by root and by a user. None gets out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.sandbox import Limits, Outcome, OutcomeKind, run_inputs
from tests.processes import finished, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

SOURCE = Path(__file__).with_name("escapes.py").read_text()
ATTEMPTS = [line[len("def try_") : line.index("(")] for line in SOURCE.splitlines() if line.startswith("def try_")]
MARKER = "marker-of-the-environment"


@contextlib.contextmanager
def world() -> Iterator[dict[str, Any]]:
    """What is outside: a secret that everybody may read, servers, and another process of the same user."""
    folder = Path(tempfile.mkdtemp(prefix="rg-outside-"))
    folder.chmod(0o777)
    secret = folder / "secret"
    secret.write_text("the secret")
    secret.chmod(0o666)
    unix, abstract = str(folder / "socket"), f"rg-{os.getpid()}"
    with contextlib.ExitStack() as opened:
        opened.callback(shutil.rmtree, folder)
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        for name in (unix, f"\0{abstract}"):
            server = opened.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(name)
            server.listen()
        opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(f"{folder}/datagrams")
        for name in (unix, f"{folder}/datagrams"):
            Path(name).chmod(0o777)
        other = opened.enter_context(subprocess.Popen(["sleep", "600"], env={"A": MARKER}))
        opened.callback(other.kill)
        yield {
            "folder": str(folder),
            "secret": str(secret),
            "parent": os.getpid(),
            "other": other.pid,
            "port": tcp.getsockname()[1],
            "unix": unix,
            "abstract": abstract,
            "marker": MARKER,
        }
        tcp.settimeout(0)
        with pytest.raises(BlockingIOError):
            tcp.accept()
        assert sorted(file.name for file in folder.iterdir()) == ["datagrams", "secret", "socket"]
        assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("the secret", 0o666)
        assert other.poll() is None


def escaped() -> dict[str, Any]:
    """Make every try, and return how each that got out ended."""
    os.environ["RG_ESCAPE"] = MARKER
    with world() as given:
        asked = [{"attempt": attempt, "given": given} for attempt in ATTEMPTS]
        outcomes = run_inputs(SOURCE, "escapes", asked, Limits(seconds=60, memory_bytes=256 << 20))
    return {attempt: str(one) for attempt, one in zip(ATTEMPTS, outcomes, strict=True) if not contained(one)}


def contained(outcome: Outcome) -> bool:
    if outcome.kind is OutcomeKind.RETURNED:
        return outcome.result == "null"
    by_mistake = outcome.error_type in ("NameError", "AttributeError", "KeyError", "TypeError", "UnboundLocalError")
    return outcome.kind in (OutcomeKind.RAISED, OutcomeKind.DIED) and not by_mistake


def test_there_are_many_tries() -> None:
    """There are at least sixty ways out to be tried, each once."""
    assert len(set(ATTEMPTS)) == len(ATTEMPTS) >= 60


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_none_gets_out_of_a_process_of_root() -> None:
    """Started by root, no try gets out."""
    assert escaped() == {}


def test_none_gets_out_of_a_process_of_an_ordinary_user() -> None:
    """Started by a user without rights, whose other processes and files are in reach, no try gets out."""
    assert json.loads(finished(python("from tests.sandbox.test_escapes import as_nobody\nas_nobody()"))) == {}


def as_nobody() -> None:
    """Become an ordinary user, make every try, and print which got out."""
    if os.geteuid() == 0:
        # The interpreter may be below a folder of root's: reach it by this process's descriptors.
        folders = [sys.base_prefix, *(path for path in sys.path if path)]
        opened = {path: os.open(path, os.O_PATH) for path in folders if Path(path).is_dir()}
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        readable()
        there = {path: f"/proc/{os.getpid()}/fd/{number}" for path, number in opened.items()}
        hidden = [path for path in there if not os.access(path, os.X_OK)]
        sys.path[:] = [there[path] if path in hidden else path for path in sys.path]
        if sys.base_prefix in hidden:
            sys.executable = f"{there[sys.base_prefix]}/bin/python{sysconfig.get_python_version()}"
    print(json.dumps(escaped()))


def readable() -> None:
    """Let processes of the same user look into this one, as into any that did not change its user."""
    import ctypes

    ctypes.CDLL(None).prctl(4, ctypes.c_ulong(1), 0, 0, 0)


GENUINE = [
    "write_outside",
    "append_outside",
    "read_outside",
    "list_outside",
    "read_users",
    "dots",
    "descriptor_of_a_path",
    "relative_to_a_folder",
    "environment_of_another",
    "memory_of_the_parent",
    "list_processes",
    "tcp",
    "udp",
    "listen",
    "unix_socket",
    "abstract_socket",
    "pair_of_datagrams",
    "netlink",
    "fork",
    "raw_clone",
    "program",
    "shell",
    "spawn",
    "signal_the_parent",
    "signal_by_a_file",
    "limits_of_another",
    "rename_outside",
    "move_in",
    "hard_link_out",
    "symbolic_link_out",
    "memory_file",
    "be_readable",
]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for whom nothing but the sandbox is in the way")
def test_the_tries_are_genuine() -> None:
    """The same tries get out where there is no sandbox, so it is the sandbox that refuses them."""
    assert json.loads(finished(python("from tests.sandbox.test_escapes import unconfined\nunconfined()"))) == []


def unconfined() -> None:
    """Make tries that do no harm without the sandbox, and print which do not get out."""
    stayed = []
    with contextlib.suppress(AssertionError, pytest.fail.Exception), world() as given:
        os.chdir(given["folder"])
        module: dict[str, Any] = {}
        exec(SOURCE, module)
        for attempt in GENUINE:
            Path(given["secret"]).write_text("the secret")
            with contextlib.suppress(OSError):
                if module["escapes"](attempt, given) not in (None, ""):
                    continue
            stayed.append(attempt)
    print(json.dumps(stayed))
