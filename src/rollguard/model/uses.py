"""What the calls of a tool came to."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Uses(NamedTuple):
    """Calls of one tool that ended alike.

    Attributes:
        tool_name: the tool.
        recent: whether they began in the recent hours.
        current: whether they are the live version's; of a tool without versions all are.
        error_type: how they failed; empty if they succeeded.
        calls, failures: how many there are, and how many of them failed.
        timed, duration_ms: how many have a duration, and its sum.
        first: the first hour of them.
    """

    tool_name: str
    recent: bool
    current: bool
    error_type: str
    calls: int
    failures: int
    timed: int
    duration_ms: float
    first: datetime
