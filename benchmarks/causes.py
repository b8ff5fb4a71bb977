"""Which cause the search for causes names first, beside a decision tree and plain lift.

Each case is a tool that takes nested parameters, drawn anew, and fails where one thing holds: a value, something
missing, a type, a range, a length, two of these together, a version, or other tools failing at the same time. In the
cases of “none” calls fail at random. Noise turns that share of the outcomes around. A method is right if what it names
first has the kind and the path of the true cause and holds for the same of 500 fresh calls, but for 5 % of them. All
three choose from the same predicates. The tree is scikit-learn's, at most two splits deep, its depth (0 included)
chosen by cross-validation; it names its leaf with the most failures. Lift names the predicate, or two, with the highest
failure rate among those with a tenth of the failures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from benchmarks.harness import Aim, Options, Result, versions
from rollguard.investigate.causes import Call, find_causes
from rollguard.investigate.predicates import Candidate, Predicate, candidates
from rollguard.investigate.values import EACH, Values

KINDS = ("value", "missing", "type", "range", "length", "pair", "version", "outside", "none")
NOISE = (0.0, 0.05, 0.10)
_FRESH, _AGREES = 500, 0.95
_PREVALENCE = (0.08, 0.45)
_COUNTRIES, _SKUS = ("DE", "FR", "IT", "ES", "PL", "NL"), tuple(f"sku-{n}" for n in range(12))
_WORDS = (
    "please",
    "send",
    "parcel",
    "office",
    "before",
    "noon",
    "and",
    "call",
    "me",
    "when",
    "it",
    "is",
    "there",
    "thanks",
)
_P = ("$",)


@dataclass(frozen=True, slots=True)
class Case:
    """A tool and why it fails: where all of `parts` hold; without parts, at random at `rate`."""

    kind: str
    parts: tuple[Predicate, ...]
    rate: float
    seed: int
    fresh: list[Values] = field(repr=False)

    def calls(self, number: int, noise: float) -> list[Call]:
        """Return so many calls, with the noise."""
        rng = random.Random(f"{self.seed} {number} {noise}")
        made = []
        for _ in range(number):
            parameters, context = _call(rng)
            failed = self.holds(Values(parameters, context)) if self.parts else rng.random() < self.rate
            made.append(Call(failed != (rng.random() < noise), parameters, context))
        return made

    def holds(self, values: Values) -> bool:
        """Return whether the tool fails by its cause."""
        return all(part.holds(values) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Named:
    """What a method names first: the predicates, and for which calls all hold; `None` names none."""

    parts: tuple[Predicate, ...]
    holds: Callable[[Values], bool]


def run(options: Options) -> Result:
    """Measure."""
    sizes = (20, 50) if options.tiny else (10, 20, 50, 100, 200, 500)
    each = 1 if options.tiny else 22
    cases = [case for kind in KINDS for case in _cases(kind, each if kind != "none" else 2 * each)]
    methods = {"Rollguard": _searched, "lift": _lifted}
    try:
        import sklearn  # noqa: F401 - installed for this benchmark alone
    except ImportError:
        print("  left out: the decision tree, for scikit-learn is not installed")
    else:
        methods["tree"] = _grown
    right: dict[tuple[str, str, int, float], list[bool]] = {}
    for case, size, noise in product(cases, sizes, NOISE):
        drawn = Drawn.of(case.calls(size, noise))
        for name, method in methods.items():
            right.setdefault((name, case.kind, size, noise), []).append(_is_right(case, method(drawn)))
    result = Result(
        name="causes",
        title="The cause of failures",
        about=__doc__ or "",
        columns=["", *(f"{name}, {100 * noise:.0f} % noise" for noise in NOISE for name in methods)],
        notes=[f"{len(cases)} cases, {len(cases) - 2 * each} of them with a cause.", versions("scikit-learn")],
    )

    def row(label: str, kinds: Sequence[str], size: int, *, wrong: bool = False) -> list[str]:
        shares = []
        for noise in NOISE:
            for name in methods:
                outcomes = [one for kind in kinds for one in right[name, kind, size, noise]]
                share = sum(outcomes) / len(outcomes)
                shares.append(f"{1 - share if wrong else share:.2f}")
        return [label, *shares]

    with_cause, size = KINDS[:-1], 200 if 200 in sizes else sizes[-1]
    result.rows = [row(f"true cause first, {n} calls", with_cause, n) for n in sizes]
    result.rows += [row(f"{kind}, {size} calls", [kind], size) for kind in with_cause]
    result.rows += [row(f"one named where there is none, {n} calls", ["none"], n, wrong=True) for n in sizes]
    first = [one for kind in with_cause for one in right["Rollguard", kind, size, 0.0]]
    named = [not one for n in sizes for noise in NOISE for one in right["Rollguard", "none", n, noise]]
    share, false = sum(first) / len(first), sum(named) / len(named)
    result.aims = [
        Aim(f"the true cause first in .90 at {size} calls without noise", f"{share:.3f}", share >= 0.90),
        Aim("one named in at most .05 where there is none", f"{false:.3f}", false <= 0.05),
    ]
    return result


def _is_right(case: Case, named: Named | None) -> bool:
    if named is None or not case.parts:
        return named is None and not case.parts
    if _form(named.parts) != _form(case.parts):
        return False
    return sum(named.holds(one) == case.holds(one) for one in case.fresh) >= _AGREES * len(case.fresh)


def _form(parts: tuple[Predicate, ...]) -> set[tuple[str, tuple[str, ...]]]:
    return {("missing" if part.kind == "present" else part.kind, part.path) for part in parts}


# --- methods ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drawn:
    """Some calls, the predicates over them, one for each set of calls, and which calls failed."""

    calls: list[Call]
    every: list[Candidate]
    failed: int

    @classmethod
    def of(cls, calls: list[Call]) -> Drawn:
        simplest: dict[int, Candidate] = {}
        for one in candidates([Values(call.parameters, call.context) for call in calls]):
            known = simplest.get(one.calls)
            if known is None or one.predicate.complexity < known.predicate.complexity:
                simplest[one.calls] = one
        return cls(calls, list(simplest.values()), sum(1 << n for n, call in enumerate(calls) if call.failed))


def _searched(drawn: Drawn) -> Named | None:
    first = find_causes(drawn.calls)[0]
    return None if first.kind == "none" else Named(first.parts, first.holds)


def _lifted(drawn: Drawn) -> Named | None:
    failed = drawn.failed
    least = max(3, failed.bit_count() / 10)

    def lift(bits: int) -> tuple[float, int]:
        failures = (bits & failed).bit_count()
        return (failures / bits.bit_count() if failures >= least else 0.0), failures

    singles = sorted(((lift(one.calls), one) for one in drawn.every), key=lambda found: found[0], reverse=True)
    if not singles or singles[0][0][0] <= failed.bit_count() / len(drawn.calls):
        return None
    best, parts = singles[0][0], (singles[0][1].predicate,)
    for (_lift, one), (_other_lift, other) in combinations(singles[:40], 2):
        both = one.calls & other.calls
        if both and lift(both) > best:
            best, parts = lift(both), (one.predicate, other.predicate)
    return Named(parts, lambda values: all(part.holds(values) for part in parts))


def _grown(drawn: Drawn) -> Named | None:
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    calls, every = drawn.calls, drawn.every
    labels = np.array([call.failed for call in calls])
    fewest = int(min(labels.sum(), (~labels).sum()))
    if fewest < 2 or not every:
        return None
    matrix = np.array([[one.calls >> number & 1 for one in every] for number in range(len(calls))], dtype=np.float32)
    folds = StratifiedKFold(min(3, fewest), shuffle=True, random_state=0)
    scores = {0: float(max(labels.mean(), 1 - labels.mean()))}
    for depth in (1, 2):
        tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
        scores[depth] = float(cross_val_score(tree, matrix, labels, cv=folds).mean())
    depth = max(scores, key=lambda one: (scores[one], -one))
    if depth == 0:
        return None
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(matrix, labels).tree_
    leaves = [(path, node) for path, node in _leaves(tree, 0, ()) if tree.value[node][0][1] > 0.5]
    if not leaves:
        return None
    taken, _node = max(leaves, key=lambda leaf: tree.value[leaf[1]][0][1] * tree.n_node_samples[leaf[1]])
    literals = [(every[column].predicate, holds) for column, holds in taken]
    return Named(
        tuple(predicate for predicate, _holds in literals),
        lambda values: all(predicate.holds(values) == holds for predicate, holds in literals),
    )


def _leaves(tree: Any, node: int, path: tuple[tuple[int, bool], ...]) -> Iterator[tuple[Any, int]]:
    if tree.children_left[node] < 0:
        yield path, node
        return
    column = int(tree.feature[node])
    yield from _leaves(tree, tree.children_left[node], (*path, (column, False)))
    yield from _leaves(tree, tree.children_right[node], (*path, (column, True)))


# --- cases -----------------------------------------------------------------------------------------------------------


def _call(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    customer: dict[str, Any] = {
        "id": rng.randint(1, 5_000),
        "country": rng.choice(_COUNTRIES),
        "tier": rng.choice(("free", "free", "pro", "team")),
    }
    if rng.random() < 0.75:
        customer["email"] = f"{rng.choice(_WORDS)}{rng.randint(1, 999)}@example.org"
    lines = [{"sku": rng.choice(_SKUS), "qty": rng.randint(1, 12)} for _ in range(rng.randint(1, 6))]
    for line in lines:
        if rng.random() < 0.07:
            line["discount"] = rng.choice((5, 10, 20))
    parameters: dict[str, Any] = {
        "customer": customer,
        "amount": round(rng.lognormvariate(4, 1), 2),
        "currency": rng.choice(("EUR", "EUR", "USD", "GBP", "CHF")),
        "lines": lines,
        "note": " ".join(rng.choices(_WORDS, k=rng.randint(0, 40))),
        "mode": rng.choice(("draft", "final", "preview")),
        "priority": rng.randint(0, 9),
        "express": rng.random() < 0.3,
        "limit": str(rng.randint(1, 99)) if rng.random() < 0.25 else rng.randint(1, 99),
        "region": None if rng.random() < 0.2 else rng.choice(("north", "south", "east", "west")),
        "flags": rng.sample(("a", "b", "c", "d", "e"), rng.randint(0, 5)),
    }
    if rng.random() < 0.6:
        parameters["callback"] = f"https://example.org/{rng.randint(1, 9999)}"
    if rng.random() < 0.8:
        parameters["timeout"] = rng.choice((5, 10, 30, 0.5, 2.5, 7.5))
    context = {
        "version": rng.randint(3, 8),
        "hour": rng.randint(0, 23),
        "size": len(str(parameters)),
        "outside": rng.random() < 0.2,
    }
    return parameters, context


_NUMBERS = {
    (*_P, "amount"): (20, 300),
    (*_P, "customer", "id"): (500, 4_500),
    (*_P, "priority"): (1, 8),
    (*_P, "lines", EACH, "qty"): (9, 11),
}
_LENGTHS = {(*_P, "note"): (20, 180), (*_P, "lines"): (2, 6), (*_P, "flags"): (1, 5)}


def _truth(kind: str, rng: random.Random) -> Predicate:
    """Return a random predicate of a kind."""
    if kind == "outside":
        return Predicate("outside", ("outside",), operand=True)
    if kind == "version":
        return Predicate("version", ("version",), ">=", rng.randint(4, 8))
    if kind == "missing":
        path = rng.choice(((*_P, "customer", "email"), (*_P, "callback"), (*_P, "timeout")))
        return Predicate("missing", path)
    if kind == "type":
        path, name = rng.choice((((*_P, "limit"), "string"), ((*_P, "region"), "null"), ((*_P, "timeout"), "number")))
        return Predicate("type", path, "=", name)
    if kind == "range":
        path = rng.choice(list(_NUMBERS))
        cut: float = rng.randint(*_NUMBERS[path])
        return Predicate("range", path, rng.choice((">=", "<")), cut)
    if kind == "length":
        path = rng.choice(list(_LENGTHS))
        return Predicate("length", path, rng.choice((">=", "<")), rng.randint(*_LENGTHS[path]))
    path, values = rng.choice(
        (
            ((*_P, "customer", "country"), _COUNTRIES),
            ((*_P, "customer", "tier"), ("free", "pro", "team")),
            ((*_P, "currency"), ("EUR", "USD", "GBP", "CHF")),
            ((*_P, "mode"), ("draft", "final", "preview")),
            ((*_P, "priority"), tuple(range(10))),
            ((*_P, "express"), (True,)),
            ((*_P, "lines", EACH, "sku"), _SKUS),
            ((*_P, "flags", EACH), ("a", "b", "c")),
        )
    )
    return Predicate("value", path, "=", rng.choice(values))


def _cases(kind: str, number: int) -> Iterator[Case]:
    rng = random.Random(f"cases of {kind}")
    found = 0
    while found < number:
        seed = rng.randrange(2**32)
        drawn = random.Random(seed)
        fresh = [Values(*_call(drawn)) for _ in range(_FRESH)]
        if kind == "none":
            case = Case(kind, (), rng.uniform(0.05, 0.4), seed, fresh)
        elif kind == "pair":
            parts = tuple(_truth(rng.choice(KINDS[:5]), rng) for _ in range(2))
            shares = [sum(map(part.holds, fresh)) / _FRESH for part in parts]
            if parts[0].path == parts[1].path or not all(0.15 <= share <= 0.8 for share in shares):
                continue
            case = Case(kind, parts, 0.0, seed, fresh)
        else:
            case = Case(kind, (_truth(kind, rng),), 0.0, seed, fresh)
        if case.parts and not _PREVALENCE[0] <= sum(map(case.holds, fresh)) / _FRESH <= _PREVALENCE[1]:
            continue
        found += 1
        yield case
