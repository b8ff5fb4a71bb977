"""Time of one judgement: `rollguard.judge.judge` on two windows, cold (a baseline not judged before) and warm.

A cycle judges every active session, so the limit is 1 ms cold and 100 µs warm: 10,000 warm judgements are then a
third of a cycle's limit. The peer is the contract's bare arithmetic on the same counts: two rates, their
difference, one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, ratio, seconds
from rollguard.judge import Rules, Window, judge
from rollguard.judge import evidence as evidence_module

RULES = Rules(24, 7, 0.15, 10, 0.05, 0.0)
SIZES = (100, 10_000, 1_000_000)
COLD_LIMIT, WARM_LIMIT = 1e-3, 100e-6


def run(options: Options) -> Result:
    """Measure."""
    repeats = 3 if options.tiny else 200
    rows, missed_cold, missed_warm = [], 0.0, 0.0
    for size in SIZES:
        actions = {"bare": partial(_bare, size), "cold": partial(_cold, size), "warm": partial(_warm, size)}
        figures = medians({name: partial(action, repeats) for name, action in actions.items()}, options.runs)
        missed_cold, missed_warm = max(missed_cold, figures["cold"]), max(missed_warm, figures["warm"])
        rows.append(
            [
                f"{number(size)} + {number(size // 10)}",
                duration(figures["bare"]),
                duration(figures["warm"]),
                duration(figures["cold"]),
                ratio(figures["cold"] / figures["warm"]),
            ]
        )
    aims = [
        Aim("cold: at most 1 ms", duration(missed_cold), missed_cold <= COLD_LIMIT),
        Aim("warm: at most 100 µs", duration(missed_warm), missed_warm <= WARM_LIMIT),
    ]
    if not aims[0].met:
        aims[0].profile = profile(partial(_cold, SIZES[-1], repeats))
    if not aims[1].met:
        aims[1].profile = profile(partial(_warm, SIZES[-1], repeats))
    return Result(
        name="decision",
        title="One judgement",
        about=__doc__,
        columns=["executions: baseline + current", "bare arithmetic", "warm", "cold", "cold : warm"],
        rows=rows,
        aims=aims,
        notes=["A baseline is judged cold once by a process; what is worked out for it is kept in memory."],
    )


def _windows(size: int, number: int) -> tuple[Window, Window]:
    """A baseline with 5 % failures, another one for each number, and a current window that is a little worse."""
    failed, current = size // 20 + number % max(size // 50, 1), size // 10
    histogram = tuple((bucket, size // 40) for bucket in range(200, 240))
    return (
        Window(size, size - failed, size, size * 25.0, histogram),
        Window(current, current - current // 16, current, current * 26.0, histogram),
    )


def _bare(size: int, repeats: int) -> float:
    """Seconds of the contract's arithmetic alone."""

    def arithmetic(baseline: Window, current: Window) -> bool:
        drop = baseline.successes / baseline.total - current.successes / current.total
        return baseline.total >= 10 and current.total >= 10 and drop >= 0.15

    return _each([_windows(size, i) for i in range(repeats)], arithmetic)


def _warm(size: int, repeats: int) -> float:
    """Seconds of judging a session whose baseline was judged before."""
    windows = _windows(size, 0)
    judge(*windows, RULES)
    return _each([windows] * repeats, lambda baseline, current: judge(baseline, current, RULES))


def _cold(size: int, repeats: int) -> float:
    """Seconds of judging a session for the first time in this process."""

    def cold(baseline: Window, current: Window) -> None:
        evidence_module._levels.cache_clear()
        judge(baseline, current, RULES)

    return _each([_windows(size, i) for i in range(max(repeats // 10, 1))], cold)


def _each(windows: Sequence[tuple[Window, Window]], action: Callable[[Window, Window], object]) -> float:
    def all_of_them() -> None:
        for baseline, current in windows:
            action(baseline, current)

    return seconds(all_of_them) / len(windows)
