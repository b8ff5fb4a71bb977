"""`CommandImprover`: a program that edits the tool in a work folder, such as a coding agent's command line."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from rollguard.compat import LARGEST, Form, form_of
from rollguard.errors import ImproverFailed, InvalidInput
from rollguard.improve.brief import Brief
from rollguard.improve.proposal import Proposal
from rollguard.improve.work_folder import CheckRules, ToolFolder
from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.sandbox.command import run_command, size, tail

_TAIL = 16_384  # the last bytes of each output, which are kept
_MOST = 16 * 1024 * 1024  # most bytes of an output
_FENCED = re.compile(r"^(`{3,})[^\n`]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


class CommandImprover:
    """Runs a program in a work folder, without a shell.

    The folder holds `brief.md`, `brief.json`, `cases.json`, `tool.py` and `check`; the brief is on stdin, too. The
    program edits `tool.py`, or prints the whole source. Of the folder only `tool.py` is read back. The program is not
    in the sandbox: it may do what the account may that runs Rollguard.

    Args:
        arguments: the program and its arguments. `{project}` stands for `project`.
        name: names it in versions and reports.
        timeout: seconds that it may take; then it is killed with its process group.
        environment: all variables that it gets, with their values.
        project: the folder from which a relative path of the program is.
        check: for a tool's name, what the check in the work folder goes by.
        redaction: what is a secret in its output.

    Raises:
        InvalidInput: `arguments` contains no program.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        name: str = "command",
        timeout: float = 900.0,
        environment: Mapping[str, str] | None = None,
        project: Path | None = None,
        check: Callable[[str], CheckRules] | None = None,
        redaction: Redaction = DEFAULT,
    ) -> None:
        if isinstance(arguments, str) or not arguments or not all(isinstance(word, str) for word in arguments):
            raise InvalidInput(f"command: {arguments!r} is not a list of a program and its arguments")
        folder = project or Path.cwd()
        program, *others = (word.replace("{project}", str(folder)) for word in arguments)
        self.name, self._timeout = name, timeout
        self._words = [str(folder / program) if "/" in program else program, *others]
        self._environment = dict(environment or {})
        self._check, self._redaction = check or (lambda _tool_name: CheckRules()), redaction

    def propose(self, brief: Brief) -> Proposal | None:
        """Return what the program made of `tool.py`, or None if it changed and printed nothing.

        Raises:
            ImproverFailed: it cannot be started, takes too long, writes too much, ends with another exit code than 0,
                or left no source.
        """
        began = time.monotonic()
        with ToolFolder(brief, self._check(brief.tool_name)) as folder:
            with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
                self._run(folder, stdout, stderr)
                output = self._kept(stdout, stderr)
                try:
                    source = folder.changed()
                except ImproverFailed as error:
                    raise ImproverFailed(str(error), output) from error
                printed = _start_of(stdout)
            prompt = folder.prompt_sha256
        if source is None:
            source = _source_in(printed, brief.tool_name)
        if source is None:
            if not output.strip():
                return None
            raise ImproverFailed("it neither changed tool.py nor printed a tool's source", output)
        return Proposal(
            source,
            self.name,
            f"{self.name} changed it for: {brief.causes[0]['text']}",
            prompt_sha256=prompt,
            seconds=time.monotonic() - began,
            output=output,
        )

    def _run(self, folder: ToolFolder, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        def too_much() -> str | None:
            if max(size(stdout), size(stderr)) > _MOST:
                return f"printed more than {_MOST // 1024**2} MiB"
            return folder.too_full()

        try:
            with (folder.path / "brief.md").open("rb") as stdin:
                exit_code, why_not = run_command(
                    self._words,
                    timeout=self._timeout,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    folder=folder.path,
                    environment=self._environment,
                    too_much=too_much,
                )
        except (OSError, ValueError) as error:
            raise ImproverFailed(f"{self._words[0]} cannot be started: {error}") from error
        if exit_code is None or exit_code:
            output = self._kept(stdout, stderr)
            problem = why_not or f"ended with exit code {exit_code}"
            raise ImproverFailed(f"{self._words[0]} {problem}", output)

    def _kept(self, stdout: IO[bytes], stderr: IO[bytes]) -> str:
        """Return the end of both outputs, without secrets."""
        secrets = [value for name, value in self._environment.items() if self._redaction.hides(name)]
        return "\n".join(
            self._redaction.text(text, secrets) for file in (stdout, stderr) if (text := tail(file, _TAIL).strip())
        )


def _start_of(output: IO[bytes]) -> bytes:
    output.seek(0)
    return output.read(LARGEST + 1)


def _source_in(printed: bytes, tool_name: str) -> bytes | None:
    """Return the tool's source in an output: all of it, or its only block of code that is one."""
    if not printed.strip():
        return None
    blocks = [match[2].encode() for match in _FENCED.finditer(printed.decode("utf-8", "replace"))]
    sources = [text for text in (printed, *blocks) if form_of(text, tool_name).form is Form.TOOL]
    return sources[0] if len(sources) == 1 else None
