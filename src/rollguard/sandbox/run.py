"""Run a tool with many inputs in the sandbox, and say what came of each."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import marshal
import os
import secrets
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.util import decode_source
from pathlib import Path
from typing import Any

from rollguard.errors import InvalidInput, SandboxUnavailable
from rollguard.sandbox.check import DEADLINE
from rollguard.sandbox.hosts import Hosts
from rollguard.sandbox.outcome import Frame, Limits, Outcome, OutcomeKind
from rollguard.sandbox.process import OUT_OF_TIME, Answer, Child, ChildNotStarted
from rollguard.sandbox.work_folder import WorkFolder

_CHILD = Path(__file__).with_name("child.py")
_PACKAGE = Path(__file__).parents[1]
_OPTIONS = (
    "-I",
    "-S",
    "-u",
    "-X",
    "utf8",
)  # no folder but the interpreter's own is imported from, and no `.pth` is run
_ROOM = 16 * 1024  # bytes of an answer beside the result
_LAST_WORDS = 300  # characters of output in an error

# What libraries read: shared libraries, certificates, time zones, the kinds of files, and harmless devices.
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/etc/localtime"),
    *("/usr/share/zoneinfo", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust"),
    *("/usr/share/ca-certificates", "/etc/mime.types", "/dev/urandom", "/dev/random", "/dev/zero"),
)
_DISCARDING = "/dev/null"
_FIRST_USER, _USERS = 61184, 4336  # numbers that systemd too hands out for a while, and no person has
_serial = itertools.count()


class Isolation(StrEnum):
    """What to do where a layer of the sandbox is missing."""

    REQUIRED = "required"  # nothing is run
    BEST_EFFORT = "best_effort"  # the code runs all the same


def run_inputs(
    source: str | bytes | dict[str, bytes],
    tool_name: str,
    inputs: Sequence[Mapping[str, Any]],
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    package: str | None = None,
    isolation: Isolation | str = Isolation.REQUIRED,
    libraries: Sequence[str | Path] = (),
) -> list[Outcome]:
    """Run a tool once with each input, in order, in a child process that can harm nobody.

    One process serves one input after another. If it ends, or an input takes too long, the next input gets a new one.

    Args:
        source: the module's code, or the files of a package. Its tool is found by the rules of `tool_file`.
        tool_name: the name of the function that is the tool, if none is marked.
        inputs: the parameters of each call. They have a form in JSON.
        limits: what a run may use.
        package: the name by which a package's modules import one another; by default the tool's.
        isolation: whether the code is run where a layer of the sandbox is missing.
        libraries: folders that the tool may read and import from, beside those of the interpreter's packages.

    Raises:
        InvalidInput: an input has no form in JSON, or `isolation` or a host is none.
        SandboxUnavailable: this machine lacks a layer, or starts no process.
    """
    asked = _written(inputs)
    code = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    readable = [str(Path(folder).absolute()) for folder in libraries]
    path = f"{tool_name}.py" if not isinstance(code, dict) else package or tool_name
    with Run(code, tool_name, path, limits, _checked(isolation), readable) as run:
        return [run.outcome(text) for text in asked]


class Run:
    """One run over all inputs: the child of the moment, and the time that is left.

    Attributes:
        lacking: why each layer that is missing is, by its name; known after the first input.
    """

    def __init__(
        self,
        code: bytes | dict[str, bytes],
        tool_name: str,
        path: str,
        limits: Limits,
        isolation: Isolation,
        libraries: list[str],
    ) -> None:
        self._code, self._path = code, path
        self._name, self._limits, self._isolation, self._libraries = tool_name, limits, isolation, libraries
        self._hosts = Hosts.resolved(limits.hosts)
        self._end = time.monotonic() + limits.total_seconds
        self._child: Child | None = None
        self._folder: WorkFolder | None = None
        self._opened = contextlib.ExitStack()
        self._refused = ""
        self.lacking: dict[str, str] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._opened.close()

    def outcome(self, text: bytes) -> Outcome:
        """Run the tool with one input."""
        if not self._refused and self._end <= time.monotonic():
            self._refused = f"the {self._limits.total_seconds:g} s for all inputs were over"
        if not self._refused and self._child is None:
            self._refused = self._start()
        if self._refused or self._child is None:
            return Outcome(OutcomeKind.NOT_RUN, error=self._refused)
        seconds = min(self._limits.seconds, self._end - time.monotonic())
        word = _word()
        answer, kind, said = self._ask(word, word + b" " + text + b"\n", seconds)
        outcome = self._outcome(answer, kind, said, seconds)
        if outcome.kind in (OutcomeKind.TIMED_OUT, OutcomeKind.DIED):
            self._stop()
        return outcome

    def _start(self) -> str:
        """Start a child and let it load the tool. Return why it does not; empty if it does."""
        folder = self._folder = self._opened.enter_context(WorkFolder(self._limits.file_bytes))
        try:
            self._child = self._opened.enter_context(
                Child(
                    _CHILD,
                    options=_OPTIONS,
                    environment={},
                    output_limit=self._limits.output_bytes,
                    answer_limit=self._limits.result_bytes + _ROOM,
                )
            )
        except ChildNotStarted as error:
            raise SandboxUnavailable(str(error)) from error
        word = _word()
        answer, kind, said = self._ask(word, self._request(word, folder.path), DEADLINE)
        if kind != "confined":  # not the tool's doing, which it has not run yet
            raise SandboxUnavailable(f"the process of the sandbox {_how(answer, DEADLINE)}{_last_words(answer)}")
        self.lacking = json.loads(said)
        if self.lacking and self._isolation is Isolation.REQUIRED:
            raise SandboxUnavailable(_lacking(self.lacking))
        word, seconds = _word(), max(0.0, min(max(DEADLINE, self._limits.seconds), self._end - time.monotonic()))
        answer, kind, said = self._ask(word, word + b"\n", seconds)
        if kind == "loads":
            return ""
        self._stop()
        if kind == "refused":
            with contextlib.suppress(ValueError):
                return str(json.loads(said))
        return f"cannot be loaded: its import {_how(answer, seconds)}{_last_words(answer)}"

    def _stop(self) -> None:
        self._child = self._folder = None
        self._opened.close()

    def _ask(self, word: bytes, request: bytes, seconds: float) -> tuple[Answer, str, bytes]:
        """Ask the child with a new word, and return its answer, with the kind and the JSON in it.

        An answer without the word of its question was written before the question, or by a guess: it is none.
        """
        if self._child is None or self._folder is None:
            raise RuntimeError("there is no child to be asked")
        answer = self._child.ask(request, deadline=seconds, complete=_is_line, forbidden=self._folder.too_full)
        line = answer.answer.partition(b"\n")[0] if not answer.ended else b""
        given, _space, rest = line.partition(b" ")
        kind, _space, said = rest.partition(b" ")
        return answer, kind.decode("ascii", "replace") if given == word else "", said

    def _request(self, word: bytes, folder: str) -> bytes:
        libraries = [*_libraries(), *self._libraries]
        readable = dict.fromkeys((*_SYSTEM, *libraries), "read") | _own_package(libraries)
        limits = self._limits
        confined = {
            "paths": [*readable.items(), (_DISCARDING, "write"), (folder, "write")],
            "folder": folder,
            "user": _FIRST_USER + (os.getpid() + next(_serial)) % _USERS,
            "ports": self._hosts.ports,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.file_bytes,
            "processor_seconds": int(limits.total_seconds) + 1,
        }
        request = {
            "confined": confined,
            "required": self._isolation is Isolation.REQUIRED,
            "word": word,
            "wanted": self._name,
            "code": self._code,
            "path": self._path,
            "seconds": limits.total_seconds,
            "sys_path": [*libraries, str(_PACKAGE.parent)],
            "environment": dict(limits.environment),
            "addresses": self._hosts.addresses,
            "result_bytes": limits.result_bytes,
        }
        return marshal.dumps(request)

    def _outcome(self, answer: Answer, kind: str, said: bytes, seconds: float) -> Outcome:
        spent = {
            "duration_ms": answer.seconds * 1000.0,
            "memory_bytes": answer.memory_bytes,
            "output": answer.output.decode("utf-8", "replace"),
        }
        try:
            if kind == "returned":
                seen, _space, result = said.partition(b" ")
                return Outcome(OutcomeKind.RETURNED, result=_json(result), **_seen(seen), **spent)  # type: ignore[arg-type]
            if kind == "raised":
                return Outcome(OutcomeKind.RAISED, **self._raised(said), **spent)  # type: ignore[arg-type]
        except (ValueError, RecursionError, TypeError, LookupError):  # not by our child's hand
            return Outcome(OutcomeKind.DIED, error="wrote into the pipe for answers", **spent)  # type: ignore[arg-type]
        ending = OutcomeKind.TIMED_OUT if answer.ended == OUT_OF_TIME else OutcomeKind.DIED
        return Outcome(ending, error=_how(answer, seconds), **spent)  # type: ignore[arg-type]

    def _raised(self, said: bytes) -> dict[str, Any]:
        reported = json.loads(said)
        frame = None
        if reported["frame"] is not None:
            function, line = str(reported["frame"][0]), int(reported["frame"][1])
            lines = _lines(self._code, str(reported["frame"][2]))
            frame = Frame(function, line, lines[line - 1].strip() if 0 < line <= len(lines) else "")
        result = None if reported["result"] is None else _json(str(reported["result"]).encode())
        return {"error_type": str(reported["type"]), "error": str(reported["error"]), "frame": frame, "result": result}


# --- what the child is given -----------------------------------------------------------------------------------------


def _checked(isolation: Isolation | str) -> Isolation:
    try:
        return Isolation(isolation)
    except ValueError:
        allowed = ", ".join(f'"{each}"' for each in Isolation)
        raise InvalidInput(f"isolation: {isolation!r} is not one of {allowed}") from None


def _written(inputs: Sequence[Mapping[str, Any]]) -> list[bytes]:
    written = []
    for number, parameters in enumerate(inputs, start=1):
        try:
            written.append(json.dumps(dict(parameters)).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"input {number} has no form in JSON ({error}); give what JSON can hold") from error
    return written


@functools.cache
def _libraries() -> list[str]:
    """Return the folders of the interpreter's own modules and of installed packages, as this process imports them."""
    own = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    own |= {str(Path(folder) / "lib-dynload") for folder in own}
    found = dict.fromkeys(entry for entry in map(str, sys.path) if _is_library(entry, own))
    return [entry for entry in found if Path(entry).exists()]


def _is_library(entry: str, own: set[str]) -> bool:
    return os.path.realpath(entry) in own or Path(entry).name in ("site-packages", "dist-packages")


def _own_package(libraries: list[str]) -> dict[str, str]:
    """Return what is to be read so that a tool can import `rollguard`, if that is not among the installed packages."""
    if str(_PACKAGE.parent) in libraries:
        return {}
    return {str(_PACKAGE): "read", str(_PACKAGE.parent): "list"}


# --- what the child says ---------------------------------------------------------------------------------------------


def _word() -> bytes:
    return secrets.token_hex(8).encode()


def _is_line(answer: bytearray) -> bool:
    return b"\n" in answer


def _json(said: bytes) -> str:
    text = said.decode("ascii")
    json.loads(text)
    return text


def _seen(said: bytes) -> dict[str, Any]:
    kinds, changed = json.loads(said)
    return {"kinds": tuple(map(str, kinds)), "changed_input": bool(changed)}


def _lines(code: bytes | dict[str, bytes], file: str) -> list[str]:
    """Return the lines of a file, or of one of the files of a package."""
    try:
        return decode_source(code.get(file, b"") if isinstance(code, dict) else code).split("\n")
    except (SyntaxError, UnicodeDecodeError):
        return []


def _how(answer: Answer, seconds: float) -> str:
    if answer.ended == OUT_OF_TIME:
        return f"did not end within {seconds:.3g} s"
    return answer.ended or "wrote into the pipe for answers"


def _last_words(answer: Answer) -> str:
    last = answer.output.decode("utf-8", "backslashreplace").strip()
    return f"; it printed: {last[:_LAST_WORDS]}" if last else ""


def _lacking(missing: dict[str, str]) -> str:
    layers = "; ".join(f"{name}: {why}" for name, why in missing.items())
    return (
        f"the sandbox lacks a layer here ({layers}), so the code was not run; use a machine that has it, or "
        f'permit less with isolation = "{Isolation.BEST_EFFORT}" under [sandbox] in rollguard.toml'
    )
