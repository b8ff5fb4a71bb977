"""Outages: whole minutes in which several tools fail more than usual. They are no baseline of any other tool. Pure.

A tool is affected in an interval if the evidence rule says that it fails more in it than otherwise. There is an outage
while a fifth of the other tools are affected, and at least two of them if there are two. The tool's own calls have no
say, so leaving out its calls of these minutes does not favour successes or failures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TypeVar

from rollguard.judge.baseline import Times
from rollguard.judge.confounders import ALPHA, widened_interval, worst_interval
from rollguard.judge.evidence import Evidence
from rollguard.judge.windows import Window

Tool = TypeVar("Tool")
Series = Sequence[tuple[datetime, Window]]  # (start of the minute or hour, its calls), the oldest first
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_MOST_WITNESSES = 20
_MOST = 20  # intervals of one tool
_FEWEST = 3  # failures of an hour that are worth a test
_WIDENED = 15  # minutes that an outage may reach beyond a tool's failures
_LONGEST = timedelta(hours=12)  # what fails for longer is broken, and shows no outage
_SHARE = 5  # one of so many tools has to be affected


def witnesses(tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools that are asked whether there was an outage: all, or of many every so many-th."""
    return tools[:: -(-len(tools) // _MOST_WITNESSES) or 1]


def usual_rate(hours: Series) -> Fraction:
    """Return the failure rate of a tool over all of its hours."""
    total = sum(window.total for _start, window in hours)
    return Fraction(sum(window.failures for _start, window in hours), total) if total else Fraction(0)


def suspicious_hours(hours: Series, asked: int) -> list[Times]:
    """Return the times in which a tool fails more than otherwise, in whole hours and an hour around them.

    Args:
        hours: the tool's calls, hour by hour.
        asked: number of tools that are tested; alpha is divided by it and by the hours.
    """
    total = sum(window.total for _start, window in hours)
    failures = sum(window.failures for _start, window in hours)
    usual = usual_rate(hours)
    if all(w.failures < _FEWEST or w.failures * total <= failures * w.total for _start, w in hours):
        return []
    series = [(window.total, window.failures) for _start, window in hours]
    found = []
    for _number in range(_MOST):
        worst = worst_interval(series, usual)
        if worst is None:
            break
        n, f = (sum(counts) for counts in zip(*series[slice(*worst)], strict=True))
        if not Evidence(total - n, failures - f, ALPHA / (asked * len(hours))).present(n, f):
            break
        found.append((hours[worst[0]][0] - _HOUR, hours[worst[1] - 1][0] + 2 * _HOUR))
        series[slice(*worst)] = [(0, 0)] * (worst[1] - worst[0])
    return found


def affected_minutes(minutes: Series, usual: Fraction) -> Times | None:
    """Return the minutes in which a tool is affected, within times in which it fails more than otherwise; or None.

    Args:
        minutes: the tool's calls in these times, minute by minute.
        usual: its usual failure rate.
    """
    if not minutes:
        return None
    first = minutes[0][0]
    known = {(start - first) // _MINUTE: window for start, window in minutes}
    dense = [known.get(number, Window()) for number in range(max(known) + 1)]
    worst = worst_interval([(window.total, window.failures) for window in dense], usual)
    if worst is None:
        return None
    begin, end = widened_interval(dense, worst, _WIDENED)
    if (end - begin) * _MINUTE > _LONGEST:
        return None
    return first + begin * _MINUTE, first + end * _MINUTE


def outages(affected: Mapping[str, Sequence[Times]], tool_name: str, start: datetime, end: datetime) -> list[Times]:
    """Return the minutes in [start, end) in which tools other than this one show an outage.

    Args:
        affected: when each tool is affected; a tool that was called and is not, has no times.
    """
    others = [times for name, times in affected.items() if name != tool_name]
    needed = max(min(2, len(others)), -(-len(others) // _SHARE))
    changes = sorted(change for times in others for a, b in _joined(times) for change in ((a, 1), (b, -1)))
    found, count, begun = [], 0, start
    for at, change in changes:
        if count < needed <= count + change:
            begun = at
        elif count + change < needed <= count:
            found.append((max(begun, start), min(at, end)))
        count += change
    return _joined(times for times in found if times[0] < times[1])


def _joined(times: Iterable[Times]) -> list[Times]:
    joined: list[Times] = []
    for a, b in sorted(times):
        if joined and a <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(b, joined[-1][1]))
        else:
            joined.append((a, b))
    return joined
