"""Tell that a tool fell silent: nobody calls it any more, although it was called as usual before. Pure.

Of n + 1 gaps between calls, each is the longest with the same probability, if nothing changed. So a gap that is longer
than the n before it happens by chance with a probability of at most 1/(n + 1). With other tools beside it, a gap is
measured by their calls, so that a night or a holiday, in which nobody calls anything, is no silence. Alone, it is
measured by time.

Calls are known by the hour. Earlier gaps are taken as long as they can have been, the present one as short.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

QUIET = timedelta(hours=1)
"""A shorter gap is never a silence."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Silence:
    """A gap since the last call that is longer than all before.

    Attributes:
        since: when the last call began.
        gaps: earlier gaps that it was compared with.
        longest: the longest of them: in calls of the other tools or, without others, in hours.
        gap: how long it is itself, in the same unit.
        by: `others` or `time`.
    """

    since: datetime
    gaps: int
    longest: float
    gap: float
    by: str

    @property
    def chance(self) -> float:
        """Return the bound on the probability of such a gap without any change."""
        return 1.0 / (self.gaps + 1)

    @property
    def sentence(self) -> str:
        """Return the silence as a sentence with numbers."""
        unit = "hours" if self.by == "time" else "calls of other tools"
        return (
            f"silent since {self.since:%Y-%m-%d %H:%M} UTC: {self.gap:.4g} {unit} without a call, "
            f"at most {self.longest:.4g} in {self.gaps} gaps before (by chance: {self.chance:.2g} or less)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the silence as a JSON-safe mapping."""
        return {
            **{"since": self.since.isoformat(), "gaps": self.gaps, "longest": self.longest, "gap": self.gap},
            **{"by": self.by, "chance": self.chance, "sentence": self.sentence},
        }


class CallsByHour:
    """Calls in each hour, of which any part is counted by two look-ups.

    Args:
        calls: the calls in each hour, by its beginning.
    """

    def __init__(self, calls: Mapping[datetime, int]) -> None:
        self.hours = sorted(hour for hour, count in calls.items() if count > 0)
        self._before = [0, *accumulate(calls[hour] for hour in self.hours)]

    def between(self, start: datetime, end: datetime) -> int:
        """Return the calls in the hours that begin from `start` on and before `end`."""
        return self._before[bisect_left(self.hours, end)] - self._before[bisect_left(self.hours, start)]


def silence(last_call: datetime, own: CallsByHour, every: CallsByHour, now: datetime, alpha: float) -> Silence | None:
    """Return the silence of a tool, or None.

    Args:
        last_call: when its last call began.
        own: its calls from the beginning of the baseline on.
        every: the calls of all tools, among them its own.
        now: the present moment.
        alpha: the largest chance that is reported.
    """
    gaps = len(own.hours) - 1
    if gaps < 1 or now - last_call < QUIET or (gaps + 1) * alpha < 1:
        return None

    def others(start: datetime, end: datetime) -> int:
        return every.between(start, end) - own.between(start, end)

    if others(own.hours[0], now) > 0:
        longest = float(max(others(first, second + _HOUR) for first, second in pairwise(own.hours)))
        gap, by = float(others(own.hours[-1] + _HOUR, now)), "others"
    else:
        longest = max((second - first + _HOUR) / _HOUR for first, second in pairwise(own.hours))
        gap, by = (now - last_call) / _HOUR, "time"
    return Silence(last_call, gaps, longest, gap, by) if gap > longest else None
