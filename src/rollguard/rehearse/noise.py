"""Learn from runs of the old version what differs between runs of the same code: noise. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rollguard.rehearse.places import ROOT, at_items, at_key

FREE_FROM = 0.5  # a number that varies by half of its size may be anything
ALLOWED_SPREADS = 4.0
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


def canonical(value: Any) -> str:
    """Return a JSON value as text that is equal for equal values."""
    return json.dumps(value, sort_keys=True)


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def words(text: str) -> list[str]:
    """Return the words, spaces and signs of a text."""
    return _WORDS.findall(text)


def relative(one: float, other: float) -> float:
    """Return by which share of the larger one two numbers differ."""
    if one == other or (one != one and other != other):  # noqa: PLR0124 - an integer may be too large for isnan
        return 0.0
    try:
        size = max(abs(one), abs(other))
        return abs(one - other) / size if math.isfinite(size) else math.inf
    except OverflowError:  # an integer that no float can hold
        return math.inf


@dataclass(slots=True)
class Noise:
    """What differed between runs of the same version with the same input, by the places of results.

    Attributes:
        free: places whose value may be anything of its type.
        mixed: places whose value may be of any type.
        loose: places of mappings and lists that do not always hold the same keys, or as many items.
        unordered: places of lists whose order varies, each with the fields that tell its items apart.
        spreads: places of numbers, each with the largest share by which they varied.
        texts: places of texts that vary in some words, each with (how many words, which of them vary).
    """

    free: set[str] = field(default_factory=set)
    mixed: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)
    unordered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spreads: dict[str, float] = field(default_factory=dict)
    texts: dict[str, set[tuple[int, int]]] = field(default_factory=dict)

    def observe(self, runs: Sequence[Any], place: str = ROOT) -> None:
        """Learn from the results of several runs with one input."""
        first = runs[0]
        if place in self.free | self.mixed or all(_same(first, run) for run in runs[1:]):
            return
        if all(isinstance(run, dict) for run in runs):
            self._mappings(runs, place)
        elif all(isinstance(run, list) for run in runs):
            self._lists(runs, place)
        elif all(is_number(run) for run in runs):
            spread = relative(min(runs), max(runs))
            self.spreads[place] = max(spread, self.spreads.get(place, 0.0))
        elif all(isinstance(run, str) for run in runs):
            self._texts(runs, place)
        else:
            self.mixed.add(place)

    def places(self) -> list[str]:
        """Return every place where something varies."""
        return sorted(
            self.free | self.mixed | self.loose | self.unordered.keys() | self.spreads.keys() | self.texts.keys()
        )

    def _mappings(self, runs: Sequence[dict[str, Any]], place: str) -> None:
        common = set(runs[0]).intersection(*runs[1:])
        if any(len(run) != len(common) for run in runs):
            self.loose.add(place)
        for key in common:
            self.observe([run[key] for run in runs], at_key(place, key))

    def _lists(self, runs: Sequence[list[Any]], place: str) -> None:
        if len({len(run) for run in runs}) > 1:
            self.loose.add(place)
            self.free.add(at_items(place))
            return
        if len({canonical(sorted(map(canonical, run))) for run in runs}) == 1:
            self.unordered.setdefault(place, ())
            return
        fields = _stable_fields(runs)
        if fields and len({canonical([sort_key(item, fields) for item in run]) for run in runs}) > 1:
            self.unordered[place] = fields
            runs = [sorted(run, key=lambda item: sort_key(item, fields)) for run in runs]
        for items in zip(*runs, strict=True):
            self.observe(items, at_items(place))

    def _texts(self, runs: Sequence[str], place: str) -> None:
        split = [words(run) for run in runs]
        if len({len(run) for run in split}) > 1:
            self.free.add(place)
            return
        vary = self.texts.setdefault(place, set())
        vary |= {(len(split[0]), at) for at, each in enumerate(zip(*split, strict=True)) if len(set(each)) > 1}


def sort_key(item: Any, fields: tuple[str, ...]) -> str:
    """Return by what the items of an unordered list are sorted."""
    if fields and isinstance(item, dict):
        return canonical([item.get(name) for name in fields])
    return canonical(item)


def _stable_fields(runs: Sequence[list[Any]]) -> tuple[str, ...]:
    """Return the fields of a list's mappings that have the same values in every run, whatever the order."""
    if not all(isinstance(item, dict) for run in runs for item in run):
        return ()
    common = set(runs[0][0]).intersection(*(item for run in runs for item in run))
    return tuple(
        name
        for name in sorted(common)
        if len({canonical(sorted(canonical(item[name]) for item in run)) for run in runs}) == 1
    )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other) and canonical(one) == canonical(other)
