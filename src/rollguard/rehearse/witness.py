"""Ask the live version what a fixed call should return: with the same input, written in another way. Pure.

A call that failed has no recorded result, so nothing but the candidate says what is right. Most repairs make a tool
take an input for another one that it always took: `" 12 "` for `12`, a missing list for an empty one. What the live
version returns for that other input is a witness that the candidate's author could not write.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rollguard.rehearse.noise import canonical

MOST_READINGS = 60
_MOST_KINDS = 3
_Key = TypeVar("_Key")
_DROP: Any = object()
_Step = tuple[str | int, ...]
_GROUPED = re.compile(r"^[^,]*$|\d,\d{3}(?!\d)")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class Reading:
    """Other parameters that may mean the same.

    Attributes:
        kinds: the numbers of the changes that lead to them.
        parameters: the parameters.
    """

    kinds: set[int]
    parameters: dict[str, Any]


def readings(parameters: dict[str, Any]) -> list[Reading]:
    """Return other ways to write the parameters of a call, each once, at most `MOST_READINGS`.

    Each kind of change is made everywhere, and at each place alone.
    """
    found: dict[str, Reading] = {}
    places = list(_places(parameters, ()))
    for kind, change in enumerate(_CHANGES):
        at = [place for place in places if _changes(parameters, place, change)]
        for chosen in ([at] if len(at) > 1 else []) + [[place] for place in at]:
            copy = json.loads(canonical(parameters))
            for place in reversed(chosen):
                _apply(copy, place, change)
            if len(found) < MOST_READINGS:
                found.setdefault(canonical(copy), Reading(set(), copy)).kinds.add(kind)
    return list(found.values())


def unexplained(explained: Mapping[_Key, Collection[int]]) -> list[_Key]:
    """Return the calls whose results few kinds of changes do not explain.

    Among many readings one may give the right result by accident, so the same few have to explain all calls.

    Args:
        explained: for each fixed call, the kinds of changes with which the live version returns the same.
    """
    few = set(explaining(explained))
    return [key for key, kinds in explained.items() if not few & set(kinds)]


def explaining(explained: Mapping[_Key, Collection[int]]) -> list[int]:
    """Return the few kinds of changes that explain most calls."""
    left, found = [set(kinds) for kinds in explained.values()], []
    for _ in range(_MOST_KINDS):
        often = Counter(kind for kinds in left for kind in kinds)
        if not often:
            break
        found.append(max(often, key=lambda kind: (often[kind], -kind)))
        left = [kinds for kinds in left if found[-1] not in kinds]
    return found


def _places(value: Any, place: _Step) -> Iterator[_Step]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield (*place, key)
        yield from _places(item, (*place, key))


def _at(value: Any, place: _Step) -> Any:
    for step in place:
        value = value[step]
    return value


def _changes(parameters: dict[str, Any], place: _Step, change: Callable[[Any], Any]) -> bool:
    value = _at(parameters, place)
    changed = change(value)
    return changed is _DROP or type(changed) is not type(value) or bool(changed != value)


def _apply(parameters: dict[str, Any], place: _Step, change: Callable[[Any], Any]) -> None:
    try:
        holder = _at(parameters, place[:-1])
        changed = change(holder[place[-1]])
    except (LookupError, TypeError):  # a change at an outer place removed it
        return
    if changed is _DROP:
        del holder[place[-1]]
    else:
        holder[place[-1]] = changed


# --- the changes: each returns another value, `_DROP`, or the same value ---------------------------------------------


def _text(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def _number_in(text: str) -> Any:
    """Return the one number in a text; a comma divides thousands, or else is the decimal sign."""
    plain = text.replace("_", "").replace(" ", "")
    plain = _THOUSANDS.sub("", plain) if _GROUPED.search(plain) else plain.replace(".", "").replace(",", ".")
    found = _NUMBER.findall(plain)
    if len(found) != 1:
        return text
    return float(found[0]) if any(sign in found[0] for sign in ".eE") else int(found[0])


def _parts_of(text: str) -> Any:
    for sign in (",", ";", "|", "\n", " "):
        if sign in text:
            return [part.strip() for part in text.split(sign) if part.strip()]
    return [text]


def _json_of(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list | bool) or value is None else text


def _truth_of(text: str) -> Any:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    return words.get(text.strip().lower(), text)


def _without_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _number(change: Callable[[float], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if _kind(value) == "number" else value


def _only(keeps: Callable[[Any, list[Any]], bool]) -> Callable[[Any], Any]:
    return lambda value: [item for item in value if keeps(item, value)] if isinstance(value, list) else value


def _joined(sign: str) -> Callable[[Any], Any]:
    """Return a change that makes one text of a list of texts."""
    return lambda value: (
        sign.join(value) if isinstance(value, list) and all(isinstance(i, str) for i in value) else value
    )


def _is_common(item: Any, items: list[Any]) -> bool:
    """Return whether an item is of the kind that most items are."""
    kinds = [_kind(each) for each in items]
    return kinds.count(_kind(item)) * 2 > len(kinds) or len(set(kinds)) == 1


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


_CHANGES: tuple[Callable[[Any], Any], ...] = (
    lambda value: _DROP if value is None else value,
    _text(str.strip),
    _text(_number_in),
    _text(str.lower),
    _text(str.upper),
    _text(lambda text: text.strip().lower()),
    _text(lambda text: text.strip().upper()),
    _text(lambda text: " ".join(text.split())),
    _text(lambda text: text.strip().title()),
    _text(lambda text: "".join(filter(str.isalnum, text))),
    _text(lambda text: text.strip("".join(c for c in text if not c.isdigit()))),
    _text(lambda text: text.replace("_", "-")),
    _text(lambda text: text.replace("-", "_")),
    _text(lambda text: text.replace(" ", "_")),
    _text(lambda text: text.replace("/", "-")),
    _text(lambda text: text.replace(".", "-")),
    _text(lambda text: text.split("T")[0]),
    _text(lambda text: text.removesuffix("Z")),
    _text(lambda text: unicodedata.normalize("NFKC", text)),
    _text(_without_accents),
    _text(_json_of),
    _text(_truth_of),
    _text(_parts_of),
    _text(lambda text: _DROP if not text.strip() else text),
    _only(lambda item, _items: item is not None),
    _only(_is_common),
    _only(lambda item, _items: item not in ("", [], {})),
    lambda value: {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value,
    lambda value: value[0] if isinstance(value, list) and len(value) == 1 else value,
    lambda value: value if isinstance(value, list) else [value],
    _joined(","),
    _joined(" "),
    lambda value: list(value.values()) if isinstance(value, dict) else value,
    _number(lambda number: int(number) if float(number).is_integer() else number),
    _number(round),
    _number(abs),
    _number(str),
    lambda value: "" if value is None else value,
    lambda value: 0 if value is None else value,
    lambda value: [] if value is None else value,
    lambda value: {} if value is None else value,
)
