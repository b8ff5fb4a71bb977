"""Real Python processes in a tenth of the time: one that has imported everything is forked for each.

Such a process is otherwise like any: it runs a script or a module as `__main__`, has its own streams, environment and
folder, ends as the interpreter does (threads, `atexit`), and can be sent signals.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import IO, Any

_NUMBER = struct.Struct("q")
_started: list[Process] = []


class Process:
    """A process that runs `-c SCRIPT` or `-m MODULE` with arguments; as far as it goes a `subprocess.Popen` of text.

    Args:
        words: as they would follow `python`.
        stdin, stdout, stderr: as in `subprocess.Popen`.
        cwd: the folder that it runs in; that of this process if not given.
    """

    def __init__(
        self, *words: object, stdin: Any = None, stdout: Any = None, stderr: Any = None, cwd: Path | None = None
    ) -> None:
        self.returncode: int | None = None
        self._status, told = os.pipe()
        (theirs_in, self.stdin), (theirs_out, self.stdout), (theirs_err, self.stderr) = (
            _ends(stdin, "w"),
            _ends(stdout, "r"),
            _ends(stderr, "r"),
        )
        theirs = [theirs_in, theirs_out, theirs_err, told]
        request = {"words": [str(word) for word in words], "environ": dict(os.environ), "cwd": str(cwd or Path.cwd())}
        try:
            socket.send_fds(_server(), [json.dumps(request).encode(errors="surrogateescape")], theirs)
        finally:
            for end in theirs:
                os.close(end)
        self.pid = self._told()
        _started.append(self)

    def poll(self) -> int | None:
        """The exit code if the process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the process has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = self._told()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process if it runs."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, sent: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Send the words and close its stdin; what it printed, once it has ended."""
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what it was sent and did not read
                self.stdin.write(sent)
                self.stdin.close()
        printed = ["", ""]

        def read(number: int, stream: IO[str]) -> None:
            printed[number] = stream.read()

        reading = [
            threading.Thread(target=read, args=(number, stream), daemon=True)
            for number, stream in enumerate((self.stdout, self.stderr))
            if stream is not None
        ]
        for thread in reading:
            thread.start()
        self.wait(timeout)
        for thread in reading:
            thread.join()
        return printed[0], printed[1]

    def close(self) -> None:
        """End the process if it runs, and close what it was connected by."""
        self.kill()
        self.wait()
        os.close(self._status)
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _told(self) -> int:
        return int(_NUMBER.unpack(os.read(self._status, _NUMBER.size))[0])


def python(script: str, *arguments: str | Path) -> Process:
    """A process that runs `script`; it lives no longer than the test that started it."""
    pipe = subprocess.PIPE
    return Process("-c", script, *arguments, stdin=pipe, stdout=pipe, stderr=pipe)


def finished(process: Process, timeout: float = 300) -> str:
    """What the process printed, once it has ended well."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    return out


def at_once(processes: list[Process]) -> list[str]:
    """Let processes go on together that print `ready` and then read a line; what each printed after that."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        go_on(process)
    return [finished(process) for process in processes]


def go_on(process: Process) -> None:
    """Send the line that a process waits for."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end_processes() -> None:
    """End what a test left running when it failed, or the next test would hear of it too."""
    while _started:
        _started.pop().close()


def _ends(wanted: Any, mode: str) -> tuple[int, IO[str] | None]:
    """The end of a stream for the process, and ours if we hold one."""
    if wanted == subprocess.PIPE:
        reader, writer = os.pipe()
        return (reader, os.fdopen(writer, mode)) if mode == "w" else (writer, os.fdopen(reader, mode))
    if wanted == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDWR), None
    return os.dup(wanted if isinstance(wanted, int) else wanted.fileno()), None


# --- what is forked ---------------------------------------------------------------------------------------------------


_servers: dict[int, socket.socket] = {}


def _server() -> socket.socket:
    """The connection to the server of this test process, which is started when it is first asked for."""
    if os.getpid() not in _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=Path(__file__).parent.parent,
                start_new_session=True,
            ).returncode = 0  # it ends with its connection, so nobody waits for it
        _servers[os.getpid()] = ours
    return _servers[os.getpid()]


def _serve(asked: socket.socket) -> list[str]:
    """Fork for each request, until the other side is gone; returns in a forked process, what it is to run."""
    import rollguard

    for module in pkgutil.walk_packages(rollguard.__path__, "rollguard."):
        if not module.name.endswith("__main__") and ".migrations.versions." not in module.name:
            importlib.import_module(module.name)
    rollguard.ExecutionStore("sqlite://").close()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(asked, 1 << 20, 4)
        if not message:
            os._exit(0)
        if not os.fork():
            asked.close()
            _keep(descriptors)
            return _become(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(descriptors: list[int]) -> None:
    """Fork, report the process's number and its exit code; returns in the process."""
    *streams, status = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process:
        for stream in streams:
            os.close(stream)
        os.write(status, _NUMBER.pack(process))
        os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])))
        os._exit(0)
    os.close(status)


def _become(request: dict[str, Any], descriptors: list[int]) -> list[str]:
    """Take the streams, the environment and the folder of the request."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    encoding = os.environ.get("PYTHONIOENCODING")
    sys.stdin = os.fdopen(0, "r", encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    return list(request["words"])


def _run(kind: str, what: str, *arguments: str) -> None:
    sys.path[0] = ""
    sys.argv = [kind, *arguments]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    _run(*_serve(socket.socket(fileno=int(sys.argv[1]))))
