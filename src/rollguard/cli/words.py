"""Times, rates and text as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

NOTHING = "–"

_STEPS = ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h"))


def printable(text: str) -> str:
    """The text without anything that would steer a terminal; new lines stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def moment(value: datetime | None, now: datetime) -> str:
    """A time on the reader's own clock: Mar 01 13:05, and 2025-03-01 13:05 where the year is another than now's."""
    if value is None:
        return NOTHING
    local = value.astimezone()
    return local.strftime("%b %d %H:%M" if local.year == now.astimezone().year else "%Y-%m-%d %H:%M")


def ago(value: datetime | None, now: datetime) -> str:
    """How long ago it was: 40 s ago, 3 h ago, 5 days ago."""
    return NOTHING if value is None else f"{span(now - value)} ago"


def span(length: timedelta) -> str:
    """A length of time in its largest fitting unit, cut: 59 s, 3 min, 47 h, 5 days."""
    seconds = max(0, int(length.total_seconds()))
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} days"


def exactly(share: float | None) -> Fraction | None:
    """The fraction that a stored share stands for: 0.15 is 15/100, not the float's binary neighbour of it."""
    return None if share is None else Fraction(repr(float(share)))


def percent(share: Fraction | float | None) -> str:
    """A share as a percentage with up to two decimals, cut and not rounded: only 100 of 100 reads as 100 %."""
    return _cut(share, "%")


def drop_points(share: Fraction | float | None) -> str:
    """A drop in percentage points, cut and not rounded: below the threshold never reads as if it had reached it."""
    return _cut(share, "pts")


def change_points(share: Fraction | None) -> str:
    """A change of a rate in percentage points, with its sign."""
    if share is None:
        return NOTHING
    sign = "+" if share > 0 else "−" if share < 0 else "±"
    return f"{sign}{_cut(abs(share), 'pts')}"


def milliseconds(value: float | None) -> str:
    """A duration as it is, to four significant digits."""
    if value is None:
        return NOTHING
    return f"{value:,.0f} ms" if value >= 1_000 else f"{value:.4g} ms"


def _cut(share: Fraction | float | None, unit: str) -> str:
    from rollguard.judge.reasons import points

    exact = exactly(share) if isinstance(share, float | int) else share
    return NOTHING if exact is None else f"{points(exact)} {unit}"
