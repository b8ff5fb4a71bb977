"""Format times, rates and text for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

NOTHING = "–"
_MOST_LABELS = 2  # of a version that many releases left unchanged

_FIGURES = re.compile(r", evidence \S+ [≥<] \S+")

_STEPS = ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h"))


def moment(value: datetime | None, now: datetime, *, seconds: bool = False) -> str:
    """Return a time in local time: Mar 01 13:05, or 2025-03-01 13:05 if it is not in now's year."""
    if value is None:
        return NOTHING
    local = value.astimezone()
    day = "%b %d" if local.year == now.astimezone().year else "%Y-%m-%d"
    return local.strftime(f"{day} %H:%M:%S" if seconds else f"{day} %H:%M")


def ago(value: datetime | None, now: datetime) -> str:
    """Return how long ago it was: 40 s ago, 3 h ago, 5 days ago."""
    return NOTHING if value is None else f"{duration(now - value)} ago"


def duration(length: timedelta) -> str:
    """Return a length of time in its largest unit, cut and not rounded: 59 s, 3 min, 47 h, 5 days."""
    seconds = max(0, int(length.total_seconds()))
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds // unit} {name}"
    return f"{seconds // 86_400} days"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun in the right form: 1 line, 2 lines."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def everyday(reasons: Iterable[str]) -> list[str]:
    """Return each reason once, without the figures of the statistics, which `--details` and `--json` show."""
    shown = (_FIGURES.sub("", reason) for reason in reasons if not reason.startswith("evidence "))
    return list(dict.fromkeys(shown))


def exactly(share: float | None) -> Fraction | None:
    """Return the fraction that a stored share means: 0.15 is 15/100, not the binary value of the float."""
    return None if share is None else Fraction(repr(float(share)))


def percent(share: Fraction | float | None) -> str:
    """Return a share as a percentage with up to two decimals, cut and not rounded: only 100 of 100 is 100 %."""
    return _cut(share, "%")


def drop_points(share: Fraction | float | None) -> str:
    """Return a drop in percentage points, cut and not rounded: a drop below the threshold never looks as large."""
    return _cut(share, "pts")


def change_points(share: Fraction | None) -> str:
    """Return a change of a rate in percentage points, with its sign."""
    if share is None:
        return NOTHING
    sign = "+" if share > 0 else "−" if share < 0 else "±"
    return f"{sign}{_cut(abs(share), 'pts')}"


def change_percent(change: float | None) -> str:
    """Return a relative change in percent, with its sign."""
    return NOTHING if change is None else f"{change:+.0%}".replace("%", " %").replace("-", "−")


def milliseconds(value: float | None) -> str:
    """Return a duration with four significant digits, or in whole milliseconds from 1,000 on."""
    from rollguard.judge import reasons

    return reasons.milliseconds(value)


def seconds(value: float) -> str:
    """Return a duration with three significant digits, or in whole seconds from 1,000 on: 0.25 s, 1,800 s."""
    return f"{value:,.0f} s" if value >= 1_000 else f"{value:.3g} s"


def _cut(share: Fraction | float | None, unit: str) -> str:
    from rollguard.judge.reasons import points

    exact = exactly(share) if isinstance(share, float | int) else share
    return NOTHING if exact is None else f"{points(exact)} {unit}"


def labelled(version_number: int | None, labels: Sequence[str]) -> str:
    """Return a version's number, and the newest labels that it was released under."""
    if version_number is None:
        return NOTHING
    return f"{version_number} ({', '.join(labels[-_MOST_LABELS:])})" if labels else str(version_number)
