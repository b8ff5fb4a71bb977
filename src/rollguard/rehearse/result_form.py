"""Learn the form of a tool's results: which kinds of values stand where, and which keys are always there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollguard.rehearse.places import ROOT, at_items, at_key

_OPEN_FROM = 3  # different sets of keys that make a mapping one of any keys


class Form:
    """The form of some results.

    Args:
        results: JSON values.
    """

    def __init__(self, results: Sequence[Any]) -> None:
        self._kinds: dict[str, set[str]] = {}
        self._keys: dict[str, list[frozenset[str]]] = {}
        for result in results:
            self._note_keys(result, ROOT)
        self._open = {
            place
            for place, seen in self._keys.items()
            if len(set(seen)) >= max(_OPEN_FROM, len(seen) // 2)  # such as counts by word
        }
        for result in results:
            self._note(result, ROOT)

    def fits(self, value: Any, place: str = ROOT) -> bool:
        """Return whether a result has the form of the others."""
        if _kind(value) not in self._kinds.get(place, ()):
            return False
        if isinstance(value, list):
            return all(self.fits(item, at_items(place)) for item in value)
        if not isinstance(value, dict):
            return True
        if place in self._open:
            return all(self.fits(item, at_key(place, "*")) for item in value.values())
        seen = self._keys[place]
        if not frozenset.intersection(*seen) <= value.keys() <= frozenset.union(*seen):
            return False
        return all(self.fits(item, at_key(place, key)) for key, item in value.items())

    def _note_keys(self, value: Any, place: str) -> None:
        if isinstance(value, dict):
            self._keys.setdefault(place, []).append(frozenset(value))
            for key, item in value.items():
                self._note_keys(item, at_key(place, key))
                self._note_keys(item, at_key(place, "*"))
        elif isinstance(value, list):
            for item in value:
                self._note_keys(item, at_items(place))

    def _note(self, value: Any, place: str) -> None:
        self._kinds.setdefault(place, set()).add(_kind(value))
        if isinstance(value, dict):
            for key, item in value.items():
                self._note(item, at_key(place, "*" if place in self._open else key))
        elif isinstance(value, list):
            for item in value:
                self._note(item, at_items(place))


def _kind(value: Any) -> str:
    kind = type(value).__name__
    return "number" if kind in ("int", "float") else kind
