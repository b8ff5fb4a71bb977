"""Read executions from JSON lines and CSV: one mapping each; an error names the line."""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from rollguard.cli import inputs
from rollguard.errors import InvalidInput
from rollguard.model.execution import FIELDS

Format = Literal["jsonl", "csv"]

_YES = frozenset(("true", "t", "yes", "y", "1", "success", "succeeded", "ok"))
_NO = frozenset(("false", "f", "no", "n", "0", "failure", "failed", "error"))
_IN_MEMORY = 16 * 1024 * 1024
_REMEMBERED = 10_000  # executions whose line numbers are kept: the store checks some hundreds at a time
_LARGEST_CELL = 64 * 1024 * 1024


class BadLine(InvalidInput):
    """A line is not an execution; the message names the source and the line."""


class Source:
    """A file of executions, read line by line.

    Attributes:
        name: the name that errors use.
        line: the line that the latest execution began on.
        read: bytes read so far, of `size`.
    """

    def __init__(self, name: str, file: IO[bytes], size: int) -> None:
        self.name, self.size = name, size
        self.line = self.read = self.count = 0
        self._lines_of_latest: deque[int] = deque(maxlen=_REMEMBERED)
        self._file = file

    def executions(self, form: Format) -> Iterator[dict[str, Any]]:
        """Yield each execution as a mapping of the fields of `Execution`.

        Raises:
            BadLine: a line is not an execution.
        """
        for execution in self._csv() if form == "csv" else self._jsonl():
            self.count += 1
            self._lines_of_latest.append(self.line)
            yield execution

    def fault(self, problem: object, number: int | None = None) -> BadLine:
        """Return an error at the present line, or at that of execution `number`, counted from 1."""
        line = self.line if number is None else self._lines_of_latest[number - self.count - 1]
        return BadLine(f"{self.name}, line {line}: {problem}; nothing of it was stored")

    def _lines(self) -> Iterator[str]:
        for number, line in enumerate(self._file, start=1):
            self.read += len(line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                self.line = number
                raise self.fault(f"it is not UTF-8 (byte {error.start + 1} of the line)") from error

    def _jsonl(self) -> Iterator[dict[str, Any]]:
        for self.line, line in enumerate(self._lines(), start=1):  # noqa: B020 - the line is the position, the rest is its text
            if not line.strip():
                continue
            try:
                execution = inputs.strict_json(line)
            except ValueError as error:
                raise self.fault(error) from error
            if not isinstance(execution, dict):
                raise self.fault("it is not a JSON object")
            moment = execution.get("executed_at")
            if moment is not None:
                execution["executed_at"] = self._converted("executed_at", moment, _moment)
            yield execution

    def _csv(self) -> Iterator[dict[str, Any]]:
        csv.field_size_limit(_LARGEST_CELL)
        rows = csv.reader(self._lines(), strict=True)
        header: list[str] | None = None
        while True:
            self.line = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                raise self.fault(f"not CSV: {error}") from error
            if cells is None:
                return
            if not cells or cells == [""]:
                continue
            if header is None:
                header = self._header(cells)
                continue
            if len(cells) != len(header):
                raise self.fault(f"it has {len(cells)} cells, the first line has {len(header)}")
            yield {
                name: self._converted(name, cell.strip(), COLUMNS[name])
                for name, cell in zip(header, cells, strict=True)
                if cell.strip()
            }

    def _header(self, cells: list[str]) -> list[str]:
        names = [cell.strip() for cell in cells]
        for name in names:
            if name not in COLUMNS:
                raise self.fault(f"unknown column {name!r}; the known ones are {', '.join(COLUMNS)}")
            if names.count(name) > 1:
                raise self.fault(f"the column {name!r} comes twice")
        for needed in ("tool_name", "success"):
            if needed not in names:
                raise self.fault(f"there is no column {needed!r}; the first line names the columns")
        return names

    def _converted(self, name: str, value: Any, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            raise self.fault(f"{name}: {error}") from error


def format_of(file: Path, given: Format | None) -> Format:
    """Return the given format, else that of the file's name; stdin has JSON lines.

    Raises:
        InvalidInput: the name has no known suffix.
    """
    if given is not None:
        return given
    if file == inputs.STDIN:
        return "jsonl"
    known: Mapping[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv"}
    found = known.get(file.suffix.lower())
    if found is None:
        raise InvalidInput(f"{file}: its name does not show the format; give --format jsonl or --format csv")
    return found


@contextmanager
def opened_source(file: Path) -> Iterator[Source]:
    """Open the file, or stdin for `-`.

    Stdin and pipes are copied to a temporary file first. All executions are stored in one transaction, and others
    should not wait for the writer of the pipe.

    Raises:
        InvalidInput: it cannot be read.
    """
    name = "stdin" if file == inputs.STDIN else str(file)
    try:
        if file != inputs.STDIN and file.is_file():
            with file.open("rb") as opened:
                yield Source(name, opened, file.stat().st_size)
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            if file == inputs.STDIN:
                shutil.copyfileobj(sys.stdin.buffer, copy)
            else:
                with file.open("rb") as pipe:
                    shutil.copyfileobj(pipe, copy)
            size = copy.tell()
            copy.seek(0)
            yield Source(name, copy, size)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}; give a file of JSON lines or CSV") from error


def _moment(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a time in ISO 8601, such as 2026-03-01T12:00:00Z")
    return inputs.time_of(value)


def _truth(cell: str) -> bool:
    word = cell.lower()
    if word not in _YES | _NO:
        raise ValueError(f"{cell!r} is neither true nor false")
    return word in _YES


def _version(text: str) -> int | str:
    """Return a version's number, or a text that may be the label of a release."""
    return _whole(text) if text.isdecimal() else text


def _whole(cell: str) -> int:
    try:
        return int(cell)
    except ValueError as error:
        raise ValueError(f"{cell!r} is not a whole number") from error


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"{cell!r} is not a number") from error


# The columns a CSV file may have: the fields of an execution, and how a cell becomes one.
COLUMNS: Mapping[str, Callable[[str], Any]] = dict.fromkeys(FIELDS, str) | {
    "success": _truth,
    "duration_ms": _number,
    "parameters": inputs.json_or_text,
    "result": inputs.json_or_text,
    "executed_at": inputs.time_of,
    "version_number": _version,
    "tags": inputs.json_or_text,
    "score": _number,
    "failed_at": inputs.json_or_text,
}
