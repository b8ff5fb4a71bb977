"""Find what failing calls have in common that succeeding ones do not. Pure.

Each candidate is scored by the lower confidence bound of its risk difference times its share of the failures, and
counts only with a small q-value. Of candidates that are nearly equally good, the simplest is the cause. A pair of
predicates is a cause only if each of them is needed beside the other. What one cause explains is set aside, and the
search goes on with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from rollguard.investigate.predicates import Candidate, Predicate, candidates
from rollguard.investigate.significance import exact_p, least_difference, q_values
from rollguard.investigate.values import Values, path_text

LEVEL = 0.05  # the largest q-value of a cause
_NEARLY = 0.93  # the share of the best score that is nearly as good
_PAIRED = 50  # the best predicates that are paired with each other,
_PAIRED_ALIKE = 3  # and of those that differ in the operand alone
_PAIR_COSTS = 0.5  # complexity of "and"
_NEEDED = 0.05  # the largest p-value by which a part of a pair is needed, over all pairs
_FEWEST_FAILURES = 3
_LEAST_SHARE = 0.1  # of the failures
_MOST = 3


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as the search sees it.

    Attributes:
        failed: whether it failed.
        parameters: its parameters as JSON values; None if they are not known as a whole.
        context: what else is known: `version`, `hour`, `size`, `request`, `outside`.
    """

    failed: bool
    parameters: Any
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """A possible cause of failures.

    Attributes:
        kind: value, missing, present, type, range, length, characters, version, pair, outside or none.
        path: of the parameter, or of both; empty if there is no single cause.
        predicate: what holds for its calls, in words.
        failures: calls for which it holds that failed.
        calls: calls for which it holds.
        q_value: the chance that so much is found where there is nothing, over all that was tried.
        score: the lower bound of the risk difference times the share of the failures.
        parts: the predicates, all of which hold.
        confirmed: whether changing it changed how calls end; None if that was not tried.
    """

    kind: str
    path: str
    predicate: str
    failures: int
    calls: int
    q_value: float
    score: float = 0.0
    parts: tuple[Predicate, ...] = ()
    confirmed: bool | None = None

    def holds(self, values: Values) -> bool:
        """Return whether it holds for a call."""
        return bool(self.parts) and all(part.holds(values) for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return what people and programs read of it, JSON-safe."""
        names = ("kind", "path", "predicate", "failures", "calls", "q_value", "confirmed")
        return {name: getattr(self, name) for name in names}


def find_causes(calls: Sequence[Call], *, level: float = LEVEL, most: int = _MOST) -> list[Cause]:
    """Return the causes of the failures, the one that explains most first.

    Args:
        calls: failed calls and others.
        level: the largest q-value of a cause.
        most: number of causes at most.

    Returns:
        At least one: of kind `none` if no single cause was found.
    """
    values = [Values(call.parameters, call.context) for call in calls]
    failed = sum(1 << number for number, call in enumerate(calls) if call.failed)
    every = list(_distinct(candidates(values)))
    found: list[Cause] = []
    left = (1 << len(calls)) - 1
    while len(found) < most and (search := _Search(failed & left, left, every)).worth_it:
        best = search.best(level)
        if best is None:
            break
        found.append(search.cause(best, failed))
        left &= ~best.calls
    return found or [_no_cause(failed, len(calls))]


def _distinct(every: Any) -> Any:
    """Return the simplest of the candidates with the same calls."""
    simplest: dict[int, Candidate] = {}
    for candidate in every:
        known = simplest.get(candidate.calls)
        if known is None or _order(candidate.predicate) < _order(known.predicate):
            simplest[candidate.calls] = candidate
    return simplest.values()


def _order(predicate: Predicate) -> tuple[float, str]:
    return predicate.complexity, predicate.text


@dataclass(frozen=True, slots=True)
class _Scored:
    parts: tuple[Predicate, ...]
    calls: int
    score: float
    p_value: float
    complexity: float


class _Search:
    """One round: the failures that no earlier cause explains, among the calls for which no earlier cause holds."""

    def __init__(self, failed: int, left: int, every: Sequence[Candidate]) -> None:
        self._failed, self._left = failed, left
        self._failures, self._calls = failed.bit_count(), left.bit_count()
        self._every = every
        self._q_values: dict[_Scored, float] = {}

    @property
    def worth_it(self) -> bool:
        """Return whether there are failures and successes enough to compare."""
        return self._failures >= _FEWEST_FAILURES and self._failures < self._calls

    def best(self, level: float) -> _Scored | None:
        """Return the cause of this round; None if there is none."""
        tested = [
            (candidate, calls)
            for candidate in self._every
            if 1 < (calls := candidate.calls & self._left).bit_count() < self._calls
        ]
        singles = [self._scored((one.predicate,), calls, one.predicate.complexity) for one, calls in tested]
        singles.sort(key=lambda one: -one.score)
        pairs, tried = self._pairs(_various(singles))
        scored = [*singles, *pairs]
        self._q_values = dict(zip(scored, q_values([one.p_value for one in scored], len(singles) + tried), strict=True))
        good = [one for one in scored if self._counts(one, level)]
        if not good:
            return None
        top = max(one.score for one in good)
        near = [one for one in good if one.score >= _NEARLY * top]
        return min(near, key=lambda one: (one.complexity, -one.score))

    def cause(self, best: _Scored, failed: int) -> Cause:
        """Return the best as a cause, with its counts over all calls."""
        kind, path, predicate = _described(best.parts)
        return Cause(
            kind,
            path,
            predicate,
            (best.calls & failed).bit_count(),
            best.calls.bit_count(),
            self._q_values[best],
            best.score,
            best.parts,
        )

    def _counts(self, one: _Scored, level: float) -> bool:
        failures = (one.calls & self._failed).bit_count()
        enough = failures >= _FEWEST_FAILURES and failures >= _LEAST_SHARE * self._failures
        return enough and one.score > 0.0 and self._q_values[one] <= level

    def _scored(self, parts: tuple[Predicate, ...], calls: int, complexity: float) -> _Scored:
        inside, failures = calls.bit_count(), (calls & self._failed).bit_count()
        if failures * self._calls <= self._failures * inside:  # no more failures inside than outside
            return _Scored(parts, calls, 0.0, 1.0, complexity)
        bound = max(0.0, least_difference(failures, inside, self._failures - failures, self._calls - inside))
        p_value = exact_p(failures, inside, self._failures, self._calls) if bound else 1.0
        return _Scored(parts, calls, bound * failures / self._failures, p_value, complexity)

    def _pairs(self, best: Sequence[_Scored]) -> tuple[list[_Scored], int]:
        """Return the pairs of which each part is needed, and how many were tried."""
        tried = [
            (one, other, both)
            for one, other in combinations(best, 2)
            if (both := one.calls & other.calls).bit_count() > 1 and both not in (one.calls, other.calls)
        ]
        found = []
        for one, other, both in tried:
            complexity = one.complexity + other.complexity + _PAIR_COSTS
            pair = self._scored(one.parts + other.parts, both, complexity)
            if pair.score <= max(one.score, other.score):
                continue
            if all(self._needed(both, within.calls) * len(tried) <= _NEEDED for within in (one, other)):
                found.append(pair)
        return found, len(tried)

    def _needed(self, both: int, within: int) -> float:
        """Return the chance that so many failures within one part have the other one, too."""
        failures = (both & self._failed).bit_count()
        return exact_p(failures, both.bit_count(), (within & self._failed).bit_count(), within.bit_count())


def _various(best: Sequence[_Scored]) -> list[_Scored]:
    """Return the best single predicates, few of a kind: neighbouring bounds would leave no room for others."""
    taken: Counter[tuple[str, Any, str]] = Counter()
    various = []
    for one in best:
        (part,) = one.parts
        alike = (part.kind, part.path, part.test)
        taken[alike] += 1
        if taken[alike] <= _PAIRED_ALIKE:
            various.append(one)
        if len(various) == _PAIRED:
            break
    return various


def _described(parts: tuple[Predicate, ...]) -> tuple[str, str, str]:
    """Return kind, path and words. Two bounds of the same value are a range."""
    if len(parts) == 1:
        (part,) = parts
        return part.kind, path_text(part.path), part.text
    one, other = sorted(parts, key=lambda part: (part.path, part.text))
    words = f"{one.text} and {other.text}"
    if one.path == other.path and one.kind == other.kind and {one.test, other.test} == {">=", "<"}:
        return one.kind, path_text(one.path), words
    return "pair", f"{path_text(one.path)} and {path_text(other.path)}", words


def _no_cause(failed: int, calls: int) -> Cause:
    return Cause("none", "", "no single cause found", failed.bit_count(), calls, 1.0)
