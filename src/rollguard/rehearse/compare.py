"""Compare a result with the one that it should be, beyond noise and by the tool's rules. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from rollguard.rehearse.noise import ALLOWED_SPREADS, FREE_FROM, Noise, is_number, relative, sort_key, words
from rollguard.rehearse.places import ROOT, at_items, at_key, matches
from rollguard.rehearse.rules import RehearsalRules

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two results differ.

    Attributes:
        place: where, such as `items[*].price`.
        old, new: what is there, in words.
    """

    place: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.place}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares results of one tool.

    Attributes:
        rules: the tool's own rules.
        noise: what differs between runs of the same version.
    """

    rules: RehearsalRules
    noise: Noise

    def differences(self, old: Any, new: Any, place: str = ROOT) -> Iterator[Difference]:
        """Yield where `new` is not what `old` is."""
        if place in self.noise.mixed or matches(place, self.rules.ignore):
            return
        if is_number(old) and is_number(new):
            if not self._numbers_agree(old, new, place):
                yield _difference(place, old, new)
        elif type(old) is not type(new):
            yield _difference(place, old, new)
        elif place in self.noise.free:
            return
        elif isinstance(old, dict):
            yield from self._mappings(old, new, place)
        elif isinstance(old, list):
            yield from self._lists(old, new, place)
        elif isinstance(old, str) and place in self.noise.texts:
            if not self._texts_agree(old, new, place):
                yield _difference(place, old, new)
        elif old != new:
            yield _difference(place, old, new)

    def _numbers_agree(self, old: int | float, new: int | float, place: str) -> bool:
        if place in self.noise.free:
            return True
        spread = self.noise.spreads.get(place, 0.0)
        if spread >= FREE_FROM:
            return True
        return relative(old, new) <= max(self.rules.tolerance, ALLOWED_SPREADS * spread)

    def _mappings(self, old: dict[str, Any], new: dict[str, Any], place: str) -> Iterator[Difference]:
        for key in {**old, **new}:
            inner = at_key(place, key)
            if key in old and key in new:
                yield from self.differences(old[key], new[key], inner)
            elif place not in self.noise.loose and not matches(inner, self.rules.ignore):
                yield _difference(inner, old.get(key, _ABSENT), new.get(key, _ABSENT))

    def _lists(self, old: list[Any], new: list[Any], place: str) -> Iterator[Difference]:
        if matches(place, self.rules.unordered) or place in self.noise.unordered:
            fields = self.noise.unordered.get(place, ())
            old, new = (sorted(items, key=lambda item: sort_key(item, fields)) for items in (old, new))
        if len(old) != len(new):
            if place not in self.noise.loose:
                yield Difference(place, f"{len(old)} items", f"{len(new)} items")
            return
        for before, after in zip(old, new, strict=True):
            yield from self.differences(before, after, at_items(place))

    def _texts_agree(self, old: str, new: str, place: str) -> bool:
        """Return whether texts agree in the words that do not vary; numbers that touch a varying one may vary too."""
        before, after = words(old), words(new)
        if len(before) != len(after):
            return False
        vary = {at for length, at in self.noise.texts[place] if length == len(before)}
        within = _within_spaces(before)
        varied = {within[at] for at in vary}
        return all(
            one == other or at in vary or (within[at] in varied and _has_digit(one) and _has_digit(other))
            for at, (one, other) in enumerate(zip(before, after, strict=True))
        )


def _within_spaces(split: list[str]) -> list[int]:
    """Return, for each word, how many spaces are before it: words with the same number stand together."""
    return list(accumulate(int(word.isspace()) for word in split))


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _difference(place: str, old: Any, new: Any) -> Difference:
    return Difference(place, _shown(old), _shown(new))


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
