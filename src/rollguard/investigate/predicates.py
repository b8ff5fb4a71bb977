"""What may hold for a call: predicates over the values at its paths, and the calls for which each holds. Pure.

The calls of a predicate are a whole number with one bit for each call, so that counting them costs next to nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rollguard.investigate.values import REDACTED, ROOT, Path, Values, kind_of, path_text, quoted

VERSION, OUTSIDE, SIZE = ("version",), ("outside",), ("size",)
_FEWEST = 2  # calls of a predicate that is worth a test
_FEW_VALUES = 12  # a path with more different values is asked for none but one of them
_CONTEXT = 0.5  # what a predicate over the context costs more than one over a parameter
_SIMPLICITY = {
    "outside": 0.9,
    "version": 1.0,
    "missing": 1.0,
    "type": 1.0,
    "value": 1.0,
    "present": 1.1,
    "range": 1.2,
    "length": 1.2,
    "characters": 1.4,
}
_DIGIT = re.compile(r"\d")
_CLASSES: Mapping[str, Callable[[str], bool]] = {
    "no characters": lambda text: not text,
    "only space": lambda text: bool(text) and text.isspace(),
    "space at an end": lambda text: text != text.strip(),
    "a line break": lambda text: "\n" in text or "\r" in text,
    "non-ASCII characters": lambda text: not text.isascii(),
    "a digit": lambda text: _DIGIT.search(text) is not None,
    "a capital letter": lambda text: text != text.lower(),
    "a quote": lambda text: "'" in text or '"' in text or "`" in text,
    "a space": lambda text: " " in text,
    "a slash": lambda text: "/" in text or "\\" in text,
    "a comma": lambda text: "," in text,
    "a hyphen": lambda text: "-" in text,
}


@dataclass(frozen=True, slots=True)
class Predicate:
    """One thing that holds for a call or does not.

    Attributes:
        kind: value, missing, present, type, range, length, characters, version or outside.
        path: of the value.
        test: what is compared: `=`, `!=`, `>=`, `<`, or the kind's own word.
        operand: what it is compared with.
    """

    kind: str
    path: Path
    test: str = "="
    operand: Any = None

    @property
    def complexity(self) -> float:
        """Return how much there is to understand; of causes that are equally good, the simplest is the cause."""
        found = _SIMPLICITY[self.kind] + 0.01 * len(self.path) + (0.4 if self.test == "!=" else 0.0)
        return found + (_CONTEXT if self.path[0] != ROOT[0] and self.kind not in ("version", "outside") else 0.0)

    @property
    def text(self) -> str:
        """Return the predicate in words."""
        path = path_text(self.path)
        if self.kind in ("missing", "present"):
            return f"{path} is {self.kind}"
        if self.kind == "outside":
            return "other tools failed at the same time"
        if self.kind == "version" and self.test == ">=":
            return f"since version {self.operand}"
        if self.kind == "type":
            return f"{path} is of type {self.operand}"
        if self.kind == "characters":
            return f"{path} has {self.operand}"
        length = "length of " if self.kind == "length" else ""
        return f"{length}{path} {self.test} {quoted(self.operand)}"

    def holds(self, values: Values) -> bool:
        """Return whether it holds for a call."""
        if self.kind == "missing":
            return values.lacks(self.path)
        found = values.at.get(self.path, ())
        if self.kind == "present":
            return bool(found)
        return any(map(self._fits, found))

    def _fits(self, value: Any) -> bool:
        if self.kind == "type":
            return kind_of(value) == str(self.operand)
        if self.kind == "characters":
            return type(value) is str and _CLASSES[self.operand](value)
        if self.test in ("=", "!="):
            return _is_scalar(value) and (_key(value) == _key(self.operand)) is (self.test == "=")
        measured = length_of(value) if self.kind == "length" else number_of(value)
        if measured is None:
            return False
        return bool(measured >= self.operand if self.test == ">=" else measured < self.operand)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A predicate and the calls for which it holds, one bit each."""

    predicate: Predicate
    calls: int


def number_of(value: Any) -> float | None:
    """Return a number, or None if the value is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def length_of(value: Any) -> int | None:
    """Return the length of a text or an array, or None if the value is neither."""
    return len(value) if isinstance(value, str | list) and value != REDACTED else None


def candidates(calls: Sequence[Values]) -> Iterator[Candidate]:
    """Return every predicate that is worth a test: it holds for some of the calls, and not for all of them."""
    paths: dict[Path, dict[int, list[Any]]] = {}
    for number, call in enumerate(calls):
        for path, found in call.at.items():
            paths.setdefault(path, {})[number] = found
    total = len(calls)
    for path, column in paths.items():
        for candidate in _of_path(path, column, calls):
            if _FEWEST <= candidate.calls.bit_count() < total:
                yield candidate


def _of_path(path: Path, column: dict[int, list[Any]], calls: Sequence[Values]) -> Iterator[Candidate]:
    if path == OUTSIDE:
        yield Candidate(Predicate("outside", path, operand=True), _bits(column, lambda value: value is True))
        return
    if path == VERSION:
        yield from _values(path, column, "version")
        yield from _cuts("version", path, column, number_of)
        return
    if len(column) < len(calls) or path[-1] != path[0]:
        yield Candidate(Predicate("missing", path), sum(1 << n for n, call in enumerate(calls) if call.lacks(path)))
        yield Candidate(Predicate("present", path), sum(1 << n for n in column))
    of_type: dict[str, int] = {}
    for number, found in column.items():
        for kind in set(map(kind_of, found)):
            of_type[kind] = of_type.get(kind, 0) | 1 << number
    for kind, bits in of_type.items():
        yield Candidate(Predicate("type", path, "=", kind), bits)
    yield from _values(path, column, "value")
    yield from _cuts("range", path, column, number_of)
    yield from _cuts("length", path, column, length_of)
    if "string" in of_type:
        texts = {
            n: [value for value in found if type(value) is str and value != REDACTED] for n, found in column.items()
        }
        for name, has in _CLASSES.items():
            yield Candidate(Predicate("characters", path, "has", name), _bits(texts, has))


def _values(path: Path, column: dict[int, list[Any]], kind: str) -> Iterator[Candidate]:
    """Return that a path has one of its values, or any but that one."""
    of: dict[tuple[str, Any], int] = {}
    other: dict[tuple[str, Any], Any] = {}
    for number, found in column.items():
        for value in found:
            if value is not None and _is_scalar(value) and value != REDACTED:  # null is a type
                key = _key(value)
                of[key] = of.get(key, 0) | 1 << number
                other[key] = value
    for key, bits in of.items():
        yield Candidate(Predicate(kind, path, "=", other[key]), bits)
    if kind == "value" and 2 < len(of) <= _FEW_VALUES:
        for key in of:
            rest = 0
            for another, bits in of.items():
                rest |= bits if another != key else 0
            yield Candidate(Predicate(kind, path, "!=", other[key]), rest)


def _cuts(
    kind: str, path: Path, column: dict[int, list[Any]], measure: Callable[[Any], float | None]
) -> Iterator[Candidate]:
    """Return that a measure of a path is at least, or below, each number between two neighbouring ones."""
    highest: list[tuple[float, int]] = []
    lowest: list[tuple[float, int]] = []
    for number, found in column.items():
        measured = [m for m in map(measure, found) if m is not None]
        if measured:
            highest.append((max(measured), 1 << number))
            lowest.append((min(measured), 1 << number))
    for test, ordered in ((">=", sorted(highest, reverse=True)), ("<", sorted(lowest))):
        bits, before = 0, None
        for value, group in groupby(ordered, key=lambda one: one[0]):
            if before is not None:
                low, high = (value, before) if test == ">=" else (before, value)
                cut = high if kind == "version" else simplest_between(low, high)
                if kind != "version" or test == ">=":
                    yield Candidate(Predicate(kind, path, test, cut), bits)
            for _value, bit in group:
                bits |= bit
            before = value


def simplest_between(low: float, high: float) -> float:
    """Return the number with the fewest digits that is above `low` and not above `high`."""
    whole = isinstance(low, int) and isinstance(high, int)
    place = math.floor(math.log10(high - low)) + 1 if high > low else 0
    for digits in range(place, place - 4, -1):
        if whole and digits <= 0:
            break
        step = 10.0**digits
        found = math.floor(high / step) * step
        found = round(found, -digits) if digits < 0 else found
        if low < found <= high:
            return int(found) if whole or float(found).is_integer() else found
    return high


def _bits(column: dict[int, list[Any]], holds: Callable[[Any], bool]) -> int:
    return sum(1 << number for number, found in column.items() if any(map(holds, found)))


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _key(value: Any) -> tuple[str, Any]:
    kind = kind_of(value)
    return ("number" if kind == "integer" else kind, value)
