"""Start a program in a process group of its own, bound its time and its output, and end the whole group."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ANSWER_LIMIT = 256 * 1024  # bytes of an answer
_OUTPUT_LIMIT = 4 * 1024  # bytes of output that are kept; the rest is read and forgotten
_CHUNK = 64 * 1024
_ASK_EVERY = 0.05  # seconds; a process that the child left behind may hold the pipe open after the child's end


class ChildNotStarted(Exception):
    """The system starts no further process. Not the fault of the code that was to be checked."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a child said.

    Attributes:
        answer: what it wrote into the pipe for its answer.
        output: the beginning of what it printed.
        ended: how it ended, in words; empty if it was complete before its end.
    """

    answer: bytes
    output: bytes
    ended: str


def run_child(program: Path, request: bytes, *, deadline: float, complete: Callable[[bytearray], bool]) -> Outcome:
    """Run a Python program in a child process, in this process's environment, and return its answer.

    The program's arguments are two descriptors: of its request, and for its answer. It ends with its process group:
    when its answer is complete, at its own end, or at the deadline.

    Args:
        program: the program's file.
        request: what it reads.
        deadline: seconds until it is ended.
        complete: returns whether an answer needs no more bytes.

    Raises:
        ChildNotStarted: the system starts no process.
    """
    with contextlib.ExitStack() as opened:
        try:
            ask, answer, output = (opened.enter_context(_Pipe()) for _ in range(3))
            process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, str(program), str(ask.reader), str(answer.writer)],
                stdin=subprocess.DEVNULL,
                stdout=output.writer,
                stderr=output.writer,
                pass_fds=(ask.reader, answer.writer),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ChildNotStarted(
                f"no process can be started to check it ({error}); free processes or memory, then try again"
            ) from error
        _running.add(process.pid)
        try:
            for end in (ask.reader, answer.writer, output.writer):
                os.close(end)
            ask.reader = answer.writer = output.writer = -1
            exchange = _Exchange(ask, answer, output, request)
            ended = exchange.run(process, time.monotonic() + deadline, complete)
            return Outcome(bytes(exchange.answer), bytes(exchange.output), ended or "")
        finally:
            _end(process.pid)
            process.wait()
            _running.discard(process.pid)


class _Pipe:
    """The two ends of a pipe, closed at the end of a `with`; -1 is an end that is closed already."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_exception: object) -> None:
        for end in (self.reader, self.writer):
            if end != -1:
                os.close(end)


class _Exchange:
    """Writes the request while it reads answer and output, so that neither side waits for the other."""

    def __init__(self, ask: _Pipe, answer: _Pipe, output: _Pipe, request: bytes) -> None:
        self._ask, self._left = ask, memoryview(request)
        self._answer, self._output = answer.reader, output.reader
        self.answer, self.output = bytearray(), bytearray()
        os.set_blocking(ask.writer, False)

    def run(self, process: subprocess.Popen[bytes], end: float, complete: Callable[[bytearray], bool]) -> str | None:
        """Return how the child ended; None if its answer was complete."""
        with selectors.PollSelector() as ready:
            ready.register(self._ask.writer, selectors.EVENT_WRITE)
            ready.register(self._answer, selectors.EVENT_READ)
            ready.register(self._output, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0:
                gone = process.poll() is not None
                for key, _events in ready.select(0.0 if gone else min(left, _ASK_EVERY)):
                    if not self._advance(key.fd):
                        ready.unregister(key.fd)
                if complete(self.answer):
                    return None
                if len(self.answer) > _ANSWER_LIMIT:
                    return f"gave an answer of more than {_ANSWER_LIMIT:,} bytes"
                if gone or (self._answer not in ready.get_map() and _gone_soon(process)):
                    return _how(process.returncode)
        return "did not end in time"

    def _advance(self, descriptor: int) -> bool:
        """Write or read what is ready, and return whether there may be more."""
        try:
            if descriptor == self._ask.writer:
                self._left = self._left[os.write(descriptor, self._left[:_CHUNK]) :]
                return bool(self._left) or self._close_request()
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a child that closed its end
            return descriptor == self._ask.writer and self._close_request()
        if descriptor == self._answer:
            self.answer += chunk
        else:
            self.output += chunk[: max(0, _OUTPUT_LIMIT - len(self.output))]
        return bool(chunk)

    def _close_request(self) -> bool:
        """Close the end for the request, so that the child reads no further; nothing more is to be written."""
        os.close(self._ask.writer)
        self._ask.writer = -1
        return False


def _gone_soon(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a child that closed its answer is ending."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ASK_EVERY)
    return process.returncode is not None


def _how(code: int) -> str:
    if code >= 0:
        return f"ended its process with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"ended its process by {signal.Signals(-code).name}"
    return f"ended its process by signal {-code}"


# --- the end of this process -----------------------------------------------------------------------------------------

_running: set[int] = set()
os.register_at_fork(after_in_child=_running.clear)  # a parent's children are not this process's


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _end_all() -> None:
    for group in list(_running):
        _end(group)


atexit.register(_end_all)
