"""Find the smallest input that still fails, by delta debugging over its JSON, and what of it makes it fail. Pure.

Reference: Zeller & Hildebrandt 2002, *Simplifying and isolating failure-inducing input*; here a value is left out,
emptied or halved as its JSON type allows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rollguard.investigate.predicates import Predicate
from rollguard.investigate.values import EACH, Path

MOST_RUNS = 200
_AT_ONCE = 8  # inputs of one run


def smallest_failing(
    parameters: dict[str, Any], fail: Callable[[Sequence[dict[str, Any]]], Sequence[bool]], most: int = MOST_RUNS
) -> dict[str, Any]:
    """Return the smallest input found that fails in the same way.

    Args:
        parameters: an input that fails.
        fail: runs inputs and returns for each whether it fails in the same way.
        most: inputs that are run at most.

    Returns:
        The input itself if nothing smaller fails. Nothing more can be taken from the returned one alone, if the runs
        sufficed.
    """
    best, runs, seen = parameters, 0, {_text(parameters)}
    while runs < most:
        tried: list[dict[str, Any]] = []
        found = None
        for smaller in _smaller(best):
            if _text(smaller) in seen:
                continue
            seen.add(_text(smaller))
            tried.append(smaller)
            if len(tried) == min(_AT_ONCE, most - runs):
                found, runs, tried = _first(tried, fail), runs + len(tried), []
                if found is not None or runs >= most:
                    break
        if found is None and tried:
            found, runs = _first(tried, fail), runs + len(tried)
        if found is None:
            break
        best = found
    return best


def transplanted(receiver: dict[str, Any], donor: dict[str, Any], parts: Sequence[Predicate]) -> dict[str, Any] | None:
    """Return one input with what the predicates speak of taken from another; None if that is not possible or no change.

    For a path through an array the whole array is taken.
    """
    made: Any = json.loads(json.dumps(receiver))
    for part in parts:
        path = part.path[: part.path.index(EACH)] if EACH in part.path else part.path
        if path[0] != "$" or len(path) < 2 or not _take(made, donor, path[1:]):
            return None
    return made if made != receiver else None


def _take(made: Any, donor: Any, names: Path) -> bool:
    for name in names[:-1]:
        if not isinstance(made, dict) or not isinstance(donor, dict):
            return False
        made, donor = made.get(name), donor.get(name)
    if not isinstance(made, dict) or not isinstance(donor, dict):
        return False
    if names[-1] in donor:
        made[names[-1]] = json.loads(json.dumps(donor[names[-1]]))
    else:
        made.pop(names[-1], None)
    return True


def _first(tried: Sequence[dict[str, Any]], fail: Callable[[Any], Sequence[bool]]) -> dict[str, Any] | None:
    return next((one for one, failed in zip(tried, fail(tried), strict=True) if failed), None)


def _smaller(value: Any) -> Iterator[Any]:
    """Yield smaller forms of a value, those that lose most first."""
    if isinstance(value, dict):
        names = list(value)
        for part in _parts(len(names)):
            yield {name: value[name] for place, name in enumerate(names) if place not in part}
        for name in names:
            yield from ({**value, name: smaller} for smaller in _smaller(value[name]))
    elif isinstance(value, list):
        for part in _parts(len(value)):
            yield [item for place, item in enumerate(value) if place not in part]
        for place, item in enumerate(value):
            yield from ([*value[:place], smaller, *value[place + 1 :]] for smaller in _smaller(item))
    elif isinstance(value, str) and value:
        for part in _parts(len(value), fewest=max(1, len(value) // 16)):
            yield value[: part.start] + value[part.stop :]
    elif isinstance(value, float) and not value.is_integer():
        yield int(value)
    elif type(value) is int and abs(value) > 1:
        yield from (0, 1, value // 10 if value > 0 else -(-value // 10))


def _parts(length: int, fewest: int = 1) -> Iterator[range]:
    """Yield parts of a sequence: all of it, its halves, its quarters, down to `fewest` items."""
    size = length
    while size >= fewest and size:
        for start in range(0, length, size):
            yield range(start, min(start + size, length))
        size = size // 2 if size > 1 else 0


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
