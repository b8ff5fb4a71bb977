"""Start a program in a process group of its own, ask it, bound its time and its output, and end the whole group."""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_ANSWER_LIMIT = 256 * 1024  # bytes of an answer
_OUTPUT_LIMIT = 4 * 1024  # bytes of output that are kept; the rest is read and forgotten
_CHUNK = 64 * 1024
_ASK_EVERY = 0.05  # seconds; a process that the child left behind may hold the pipe open after the child's end

OUT_OF_TIME = "did not end in time"


class ChildNotStarted(Exception):
    """The system starts no further process. Not the fault of the code that was to be checked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child said.

    Attributes:
        answer: what it wrote into the pipe for its answer.
        output: the beginning of what it printed.
        ended: how it ended, in words; empty if its answer was complete before its end.
        seconds: how long it took.
        memory_bytes: the most memory that it held so far, as the system counts it; 0 where it does not say.
    """

    answer: bytes
    output: bytes
    ended: str
    seconds: float = 0.0
    memory_bytes: int = 0


class Child:
    """A Python program in a child process. Its arguments are two descriptors: of what it is asked, and for its answers.

    It ends with its process group at the end of a `with`.

    Args:
        program: the program's file.
        options: of the interpreter.
        environment: its environment variables; None leaves it this process's.
        output_limit: bytes of output that are kept, for each answer.
        answer_limit: bytes that an answer may have.

    Raises:
        ChildNotStarted: the system starts no process.
    """

    def __init__(
        self,
        program: Path,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        output_limit: int = _OUTPUT_LIMIT,
        answer_limit: int = _ANSWER_LIMIT,
    ) -> None:
        self._output_limit, self._answer_limit = output_limit, answer_limit
        with contextlib.ExitStack() as opened:
            try:
                ask, answer, output = (opened.enter_context(_Pipe()) for _ in range(3))
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                    [sys.executable, *options, str(program), str(ask.reader), str(answer.writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=output.writer,
                    stderr=output.writer,
                    pass_fds=(ask.reader, answer.writer),
                    start_new_session=True,
                    env=environment,
                )
            except (OSError, ValueError) as error:
                raise ChildNotStarted(
                    f"no process can be started to check it ({error}); free processes or memory, then try again"
                ) from error
            _running.add(self._process.pid)
            for end in (ask.reader, answer.writer, output.writer):
                os.close(end)
            ask.reader = answer.writer = output.writer = -1
            os.set_blocking(ask.writer, False)
            os.set_blocking(output.reader, False)
            self._ask, self._answer, self._output = ask.writer, answer.reader, output.reader
            self._opened = opened.pop_all()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _end(self._process.pid)
        self._process.wait()
        _running.discard(self._process.pid)
        self._opened.close()

    def ask(
        self,
        request: bytes,
        *,
        deadline: float,
        complete: Callable[[bytearray], bool],
        forbidden: Callable[[], str | None] = lambda: None,
    ) -> Answer:
        """Write a request, and return the answer.

        Args:
            request: what the program reads.
            deadline: seconds until it counts as late. It is not ended by that.
            complete: returns whether an answer needs no more bytes.
            forbidden: called every now and then; returns why the child is to be ended, or None.
        """
        exchange = _Exchange(self._ask, self._answer, self._output, request, self._output_limit)
        began = time.monotonic()
        ended, memory = None, 0
        with exchange.ready:
            while True:
                left = began + deadline - time.monotonic()
                gone = self._process.poll() is not None
                moved = exchange.step(0.0 if gone else max(0.0, min(left, _ASK_EVERY)))
                seconds = time.monotonic() - began
                if complete(exchange.answer):
                    memory = max(memory, _peak_memory(self._process.pid))
                    break
                if not moved:
                    memory = max(memory, _peak_memory(self._process.pid))
                ended = self._over(exchange, left, gone=gone) or forbidden()
                if ended:
                    break
        exchange.drain()
        return Answer(bytes(exchange.answer), bytes(exchange.output), ended or "", seconds, memory)

    def _over(self, exchange: _Exchange, left: float, *, gone: bool) -> str | None:
        """Return how the child ended before its answer was complete; None if it goes on."""
        if len(exchange.answer) > self._answer_limit:
            return f"gave an answer of more than {self._answer_limit:,} bytes"
        if gone or (exchange.answered and _gone_soon(self._process)):
            return _how(self._process.returncode)
        return OUT_OF_TIME if left <= 0 else None


def run_child(program: Path, request: bytes, *, deadline: float, complete: Callable[[bytearray], bool]) -> Answer:
    """Run a program in a child process, in this process's environment, return its answer, and end it.

    Raises:
        ChildNotStarted: the system starts no process.
    """
    with Child(program) as child:
        return child.ask(request, deadline=deadline, complete=complete)


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

    def __init__(self, ask: int, answer: int, output: int, request: bytes, output_limit: int) -> None:
        self._ask, self._answer, self._output = ask, answer, output
        self._left, self._output_limit = memoryview(request), output_limit
        self.answer, self.output = bytearray(), bytearray()
        self.answered = False
        self.ready = selectors.PollSelector()
        self.ready.register(ask, selectors.EVENT_WRITE)
        self.ready.register(answer, selectors.EVENT_READ)
        self.ready.register(output, selectors.EVENT_READ)

    def step(self, seconds: float) -> bool:
        """Write and read what is ready within the time, and return whether anything was."""
        events = self.ready.select(seconds)
        for key, _events in events:
            if not self._advance(key.fd):
                self.ready.unregister(key.fd)
                self.answered |= key.fd == self._answer
        return bool(events)

    def drain(self) -> None:
        """Read the output that the child wrote before its answer. The pipe holds no more than these chunks."""
        for _ in range(16):
            try:
                chunk = os.read(self._output, _CHUNK)
            except OSError:
                return
            if not chunk:
                return
            self._keep(chunk)

    def _advance(self, descriptor: int) -> bool:
        """Write or read what is ready, and return whether there may be more."""
        try:
            if descriptor == self._ask:
                self._left = self._left[os.write(descriptor, self._left[:_CHUNK]) :]
                return bool(self._left)
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # a child that closed its end
            return False
        if descriptor == self._answer:
            self.answer += chunk
        else:
            self._keep(chunk)
        return bool(chunk)

    def _keep(self, chunk: bytes) -> None:
        self.output += chunk[: max(0, self._output_limit - len(self.output))]


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


def _peak_memory(pid: int) -> int:
    """Return the most memory that a process held, from the system: what the process says of itself may be wrong."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123
            kilobytes = status.read().partition(b"VmHWM:")[2].split(maxsplit=1)
    except OSError:  # no Linux, or it is gone
        return 0
    return int(kilobytes[0]) * 1024 if kilobytes else 0


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
