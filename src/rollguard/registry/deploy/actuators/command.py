"""A command that makes a version live."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rollguard.errors import ActuatorFailed, InvalidInput
from rollguard.registry.deploy.actuators.actuator import Request
from rollguard.registry.folder.file_names import stem_of
from rollguard.sandbox.command import run_command, size, tail

_TAIL = 16_384  # the last bytes of the output, which are read
_MOST = 64 * 1024 * 1024  # most bytes of output, so that a faulty program does not fill the disk


class CommandActuator:
    """Runs a program, without a shell. Only exit code 0, in time, acknowledges.

    The code is in a file that `{file}` names, and on stdin. `{tool}`, `{tools}`, `{version}`, `{label}`, `{sha256}`,
    `{action}`, `{key}` and `{sequence}` are replaced by values of the request (see `Request`), also inside an argument.
    `{code}` is the code itself, for code that is one word, such as an image's name. `{stem}` is the tool's name as a
    file of the folder has it: it leads into no other folder. The name itself may, as it may hold `/`.
    The program and its children are killed when its time is over, or when it has printed more than 64 MiB.

    Args:
        arguments: the program and its arguments.
        timeout: seconds that it may take.

    Raises:
        InvalidInput: `arguments` contains no program.
    """

    kind = "command"

    def __init__(self, arguments: Sequence[str], *, timeout: float = 60.0) -> None:
        if isinstance(arguments, str) or not arguments or not all(isinstance(word, str) for word in arguments):
            raise InvalidInput(f"command: {arguments!r} is not a list of a program and its arguments")
        self.arguments = tuple(arguments)
        self._timeout = timeout

    @property
    def patience(self) -> float:
        """Return the longest duration of `put`, in seconds."""
        return self._timeout + 5.0

    def put(self, request: Request) -> str | None:
        """Run the command and return what it printed.

        Raises:
            ActuatorFailed: it cannot be started, takes too long, prints without end, or ends with another exit code
                than 0.
        """
        with _code_in_a_file(request) as code, tempfile.TemporaryFile() as output:
            words = [_filled(word, _values(request, code)) for word in self.arguments]
            with code.open("rb") as stdin:
                try:
                    exit_code, why_not = run_command(
                        words,
                        timeout=self._timeout,
                        stdin=stdin,
                        stdout=output,
                        too_much=lambda: f"printed more than {_MOST // 1024**2} MiB" if size(output) > _MOST else None,
                        leave_children=True,
                    )
                except (OSError, ValueError) as error:
                    raise ActuatorFailed(f"{words[0]} cannot be started: {error}") from error
            said = tail(output, _TAIL)
            if exit_code is None:
                raise ActuatorFailed(f"{words[0]} {why_not}", said)
            if exit_code:
                last = said.strip().rpartition("\n")[2]
                raise ActuatorFailed(f"{words[0]} ended with exit code {exit_code}{last and f': {last}'}", said)
            return said


def _values(request: Request, code: Path) -> Mapping[str, str]:
    return {
        "{tool}": request.version.tool_name,
        "{tools}": ",".join(request.tools or (request.version.tool_name,)),
        "{stem}": stem_of(request.version.tool_name),
        "{version}": str(request.version.version_number),
        "{sha256}": request.version.sha256,
        "{action}": request.action,
        "{key}": request.key,
        "{sequence}": str(request.sequence),
        "{file}": str(code),
        "{label}": request.label,
        "{code}": request.version.code.decode("utf-8", "replace").strip(),  # last: nothing in it is replaced
    }


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


@contextlib.contextmanager
def _code_in_a_file(request: Request) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        file = Path(folder) / "code"
        file.write_bytes(request.version.code)
        yield file
