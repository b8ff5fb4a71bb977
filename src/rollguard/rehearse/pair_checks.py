"""Judge what a candidate does with recorded calls: what it fixes, breaks and changes, its time and memory. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from rollguard.rehearse.exact import p_more
from rollguard.rehearse.pairs import Pair, PairKind
from rollguard.rehearse.reason import Reason, ask, refuse
from rollguard.sandbox.outcome import Outcome

ALPHA = 0.05
"""A fix, or calls that fail more often, must be this unlikely by chance."""
_SLOWER, _SLOWER_MS = 2.0, 5.0
_LARGER, _LARGER_BYTES = 2.0, 64 * 1024 * 1024
_FEW_MOVED = 0.5
_EXAMPLES = 3
_MUCH_SLOWER, _FIXED_SLOWER, _MUCH_SLOWER_MS = 3.0, 10.0, 500.0
_NONE_UNSEEN = "its author saw each failure that it fixes, so nothing shows that it fixes others"


def unfixed_reasons(pairs: Sequence[Pair], *, must_fix: bool) -> tuple[float | None, list[Reason]]:
    """Return how likely the fixes come by chance, and a reason if nothing was fixed that should be."""
    failing = [pair for pair in pairs if not pair.call.success and pair.old_successes < len(pair.runs.old)]
    if not failing:
        reason = ask("fixes", "a person decides: no recorded failure fails in the sandbox, so no fix can be shown")
        return None, [reason] if must_fix else []
    p_fixed = p_more(pair.counts for pair in failing)
    if not must_fix:
        return p_fixed, []
    if p_fixed <= ALPHA + 1e-12:
        unseen = any(pair.call.held_out for pair in failing)
        return p_fixed, [] if unseen else [ask("unseen", f"a person decides: {_NONE_UNSEEN}")]
    return p_fixed, [refuse("fixes", f"it fixes none of {len(failing)} recorded failures (p = {p_fixed:.2g})")]


def pair_reasons(pairs: Sequence[Pair], *, held_out: bool = False) -> list[Reason]:
    """Return what speaks against a candidate in some calls."""
    return [
        replace_held_out(reason, held_out)
        for check in (_broken, _fails_more_often, _changed, _unsteady, _inputs, _moved, _costs, _some_slower)
        for reason in check(pairs)
    ]


def held_out_reasons(pairs: Sequence[Pair]) -> list[Reason]:
    """Return what speaks against a candidate in the calls that its author did not see."""
    out = [pair for pair in pairs if pair.call.held_out]
    return [*pair_reasons(out, held_out=True), *_not_fixed_unseen(pairs)]


def replace_held_out(reason: Reason, held_out: bool) -> Reason:
    """Return a reason with whether calls that were held out say so."""
    return Reason(reason.weight, reason.check, reason.text, held_out)


def _broken(pairs: Sequence[Pair]) -> Iterator[Reason]:
    broken = [pair for pair in pairs if pair.kind is PairKind.BROKEN]
    if broken:
        yield refuse("broken", f"it breaks {len(broken)} of {len(pairs)} recorded calls{_examples(broken)}")


def _fails_more_often(pairs: Sequence[Pair]) -> Iterator[Reason]:
    flaky = [pair for pair in pairs if pair.flaky]
    if not flaky:
        return
    p = p_more((old, old_runs, new, new_runs) for new, new_runs, old, old_runs in (pair.counts for pair in flaky))
    if p <= ALPHA / 5:
        yield refuse("broken", f"{len(flaky)} recorded calls fail more often than with the live version (p = {p:.2g})")
    elif p <= ALPHA * 2 and not any(0 < pair.old_successes < len(pair.runs.old) for pair in pairs):
        yield ask("flaky", f"{len(flaky)} recorded calls fail sometimes, and never with the live version")


def _changed(pairs: Sequence[Pair]) -> Iterator[Reason]:
    changed = [pair for pair in pairs if pair.kind is PairKind.CHANGED]
    if changed:
        yield ask("changed", f"it changes the outcome of {len(changed)} recorded calls{_examples(changed)}")


def _unsteady(pairs: Sequence[Pair]) -> Iterator[Reason]:
    unsteady = [pair for pair in pairs if not pair.steady]
    if unsteady:
        yield ask("unsteady", f"{len(unsteady)} fixed calls return something else in each run{_examples(unsteady)}")


def _inputs(pairs: Sequence[Pair]) -> Iterator[Reason]:
    changing = [
        pair
        for pair in pairs
        if any(outcome.changed_input for outcome in pair.runs.new)
        and not any(outcome.changed_input for outcome in pair.runs.old)
        and pair.old_successes
    ]
    if changing:
        yield ask(
            "inputs", f"it changes the lists or mappings that {len(changing)} callers gave it{_examples(changing)}"
        )


def _moved(pairs: Sequence[Pair]) -> Iterator[Reason]:
    good = [pair for pair in pairs if pair.call.success]
    gone = [pair for pair in good if pair.old_successes == 0]
    moved = [pair for pair in good if pair.moved]
    if len(gone) > _FEW_MOVED * len(good):
        yield ask("moved", f"the live version itself fails here with {len(gone)} of {len(good)} calls that succeeded")
    elif len(moved) > _FEW_MOVED * len(good):
        yield ask("moved", f"the live version itself does otherwise than then with {len(moved)} of {len(good)} calls")


def _costs(pairs: Sequence[Pair]) -> Iterator[Reason]:
    both = [pair for pair in pairs if pair.old_successes and pair.new_successes]
    if not both:
        return
    times = [pair.slowdown for pair in both]
    before, after = sum(old for old, _ in times), sum(new for _, new in times)
    slower = sum(new > _SLOWER * old for old, new in times)
    if after > _SLOWER * before and after - before > _SLOWER_MS * len(both) and _by_chance(slower, len(both)) <= ALPHA:
        yield ask("slower", f"it takes at least {after / len(both):.0f} ms a call, before {before / len(both):.0f} ms")
    memory = [max(outcome.memory_bytes for pair in both for outcome in runs(pair)) for runs in (_old, _new)]
    if memory[1] > _LARGER * memory[0] and memory[1] - memory[0] > _LARGER_BYTES:
        yield ask("memory", f"it holds {memory[1] // 2**20} MiB of memory, before {memory[0] // 2**20} MiB")


def _some_slower(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if single calls take far longer. Fixed ones are measured by the live version's slowest."""
    usual = max(
        (outcome.duration_ms for pair in pairs if pair.old_successes for outcome in pair.runs.old), default=None
    )
    slower = []
    for pair in pairs:
        after = min((outcome.duration_ms for outcome in pair.runs.new), default=0.0)
        if pair.old_successes and pair.new_successes:
            before, times = max(outcome.duration_ms for outcome in pair.runs.old), _MUCH_SLOWER
        elif pair.kind is PairKind.FIXED and usual is not None:
            before, times = usual, _FIXED_SLOWER
        else:
            continue
        if after > times * before and after - before > _MUCH_SLOWER_MS:
            slower.append(pair)
    if slower:
        yield ask("slower", f"{len(slower)} calls take far longer than with the live version{_examples(slower)}")


def _not_fixed_unseen(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if failures that were held out are not fixed as those of the same kind that were shown."""
    kinds: dict[str | None, list[Pair]] = defaultdict(list)
    for pair in pairs:
        if not pair.call.success and pair.old_successes == 0:
            kinds[pair.call.signature].append(pair)
    for group in kinds.values():
        fixed = {out: sum(p.kind is PairKind.FIXED for p in group if p.call.held_out is out) for out in (False, True)}
        every = {out: sum(p.call.held_out is out for p in group) for out in (False, True)}
        if not fixed[False] or fixed[True] == every[True]:
            continue
        p = p_more([(fixed[False], every[False], fixed[True], every[True])])
        text = (
            f"it fixes {fixed[False]} of {every[False]} shown failures and {fixed[True]} of {every[True]} held-out ones"
        )
        if p <= ALPHA or not fixed[True]:
            yield refuse("held_out", text, held_out=True)
        elif fixed[False] == every[False]:
            yield ask("held_out", text, held_out=True)


def _old(pair: Pair) -> tuple[Outcome, ...]:
    return pair.runs.old


def _new(pair: Pair) -> tuple[Outcome, ...]:
    return pair.runs.new


def _by_chance(successes: int, tries: int) -> float:
    """Return how likely a fair coin shows heads so often, or more often."""
    return math.fsum(math.comb(tries, k) / 2**tries for k in range(successes, tries + 1))


def _examples(pairs: Sequence[Pair]) -> str:
    return f", such as {', '.join(pair.call.call_id for pair in pairs[:_EXAMPLES])}"
