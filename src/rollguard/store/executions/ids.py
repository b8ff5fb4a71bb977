"""The ids that Rollguard makes for executions: each holds its execution's time, so it belongs into one partition only.

    rg 00064bf1c2d3e4 9f86d081884c7d65     "rg", microseconds since 1970, 64 random bits; without the spaces

So a unique index on (execution_id, executed_at) holds such an id once, across all partitions. A caller's own id says
nothing of its time; on PostgreSQL it is held once by a table of ids, which takes longer.
"""

from __future__ import annotations

import os
import random
import re
import uuid
from datetime import UTC, datetime, timedelta

OURS_POSTGRESQL = "^rg[01][0-9a-f]{29}$"
_OURS = re.compile(r"rg([01][0-9a-f]{13})[0-9a-f]{16}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_random = random.Random()  # noqa: S311 - seeded by the system; ids are to be different, not secret
os.register_at_fork(after_in_child=_random.seed)  # or a child would go on with its parent's numbers
_END = 2**53  # microseconds that a float holds exactly, as PostgreSQL's arithmetic with intervals needs: up to 2255


def new_id(moment: datetime) -> str:
    """A new id of an execution at an aware moment."""
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if 0 <= microseconds < _END:
        return "rg%030x" % (microseconds << 64 | _random.getrandbits(64))
    return uuid.uuid4().hex  # of a time that our ids do not hold: as good as a caller's


def is_ours(execution_id: str) -> bool:
    """Whether Rollguard made this id."""
    return _OURS.fullmatch(execution_id) is not None


def moment_of(execution_id: str) -> datetime | None:
    """The time in an id that Rollguard made; None for a caller's own."""
    if not execution_id.startswith("rg"):
        return None
    match = _OURS.fullmatch(execution_id)
    return None if match is None else _EPOCH + timedelta(microseconds=int(match[1], 16))
