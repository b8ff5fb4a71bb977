"""Run a program without a shell, in bounded time and with bounded output. A late one is killed with its group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_CHECK_EVERY = 0.1  # seconds between two checks


def run_command(
    words: Sequence[str],
    *,
    timeout: float,
    stdin: IO[bytes],
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
    folder: Path | str | None = None,
    environment: Mapping[str, str] | None = None,
    too_much: Callable[[], str | None] = lambda: None,
    leave_children: bool = False,
) -> tuple[int | None, str]:
    """Run a program, and kill it and its process group when its time is over or it does too much.

    Args:
        words: the program and its arguments.
        timeout: seconds that it may take.
        stdin, stdout, stderr: open files; without `stderr` both outputs go to `stdout`.
        folder: its working folder; this process's by default.
        environment: its whole environment; this process's by default.
        too_much: returns what it does too much of, or None; asked ten times a second.
        leave_children: whether what it started may go on when it ended by itself.

    Returns:
        The exit code, or None and the reason why it was killed.

    Raises:
        OSError, ValueError: it cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 - running what the settings name is the job; there is no shell
        words,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT if stderr is None else stderr,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    ended = False
    try:
        exit_code, why_not = _waited_for(process, timeout, too_much)
        ended = exit_code is not None
    finally:
        if not (ended and leave_children):
            _kill(process)
    return exit_code, why_not


def tail(output: IO[bytes], most: int) -> str:
    """Return the last bytes of a file as text."""
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - most))
    return output.read(most).decode("utf-8", "replace")


def size(output: IO[bytes]) -> int:
    """Return how many bytes were written to a file."""
    return os.fstat(output.fileno()).st_size


def _waited_for(
    process: subprocess.Popen[bytes], timeout: float, too_much: Callable[[], str | None]
) -> tuple[int | None, str]:
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return process.wait(max(0.0, min(_CHECK_EVERY, left))), ""
        except subprocess.TimeoutExpired:
            if left <= 0:
                return None, f"took longer than {timeout:g} s"
            if problem := too_much():
                return None, problem


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
