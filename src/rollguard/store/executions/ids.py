"""Ids of executions. An id that Rollguard creates contains the execution's time, and so belongs to one partition.

    rg 00064bf1c2d3e4 9f86d081884c7d65     "rg", microseconds since 1970, 64 random bits; without the spaces

So a unique index on (execution_id, executed_at) keeps such an id unique across all partitions. A caller's own id has no
time; on PostgreSQL a table of ids keeps it unique, which is slower.
"""

from __future__ import annotations

import os
import random
import re
import sys
import uuid
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

OURS_POSTGRESQL = "^rg[01][0-9a-f]{29}$"
_OURS = re.compile(r"rg([01][0-9a-f]{13})[0-9a-f]{16}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_random = random.Random()  # noqa: S311 - seeded by the system; ids are to be different, not secret
os.register_at_fork(after_in_child=_random.seed)  # a child must not repeat its parent's numbers
_END = 2**53  # microseconds that a float holds exactly, as PostgreSQL's arithmetic with intervals needs: up to 2255


def new_id(moment: datetime) -> str:
    """Return a new id for an execution at an aware moment."""
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if 0 <= microseconds < _END:
        return "rg%030x" % (microseconds << 64 | _random.getrandbits(64))
    return uuid.uuid4().hex  # a time that such ids cannot contain: treated as a caller's id


class Placed(list[datetime]):
    """Times whose executions got their ids here. Their microseconds since 1970 are wanted again, to store them."""

    def __init__(self, moments: Sequence[datetime], microseconds: list[int]) -> None:
        super().__init__(moments)
        self.microseconds = microseconds


def new_ids(moments: Sequence[datetime]) -> tuple[list[str], Sequence[datetime]]:
    """Return a new id for an execution at each of some aware moments, and the moments; a fifth of the time of each."""
    microseconds = microseconds_of(moments)
    if not microseconds or min(microseconds) < 0 or max(microseconds) >= _END:
        return [new_id(moment) for moment in moments], moments
    numbers = array("Q", bytes(16 * len(moments)))
    numbers[0::2] = array("Q", microseconds)
    numbers[1::2] = array("Q", _random.randbytes(8 * len(moments)))
    if sys.byteorder == "little":
        numbers.byteswap()
    digits = numbers.tobytes().hex()
    return [f"rg{digits[at : at + 30]}" for at in range(2, len(digits), 32)], Placed(moments, microseconds)


def microseconds_of(moments: Sequence[datetime]) -> list[int]:
    """Return the microseconds since 1970 of each aware moment."""
    if isinstance(moments, Placed):
        return moments.microseconds
    return [(moment - _EPOCH) // _MICROSECOND for moment in moments]


def id_of(moment: datetime, number: int) -> str:
    """Return the id for an execution at an aware moment that is recognised by a number of 64 bits."""
    microseconds = (moment - _EPOCH) // _MICROSECOND
    return "rg%030x" % (microseconds << 64 | number) if 0 <= microseconds < _END else f"{number:032x}"


def is_ours(execution_id: str) -> bool:
    """Return whether Rollguard created this id."""
    return _OURS.fullmatch(execution_id) is not None


def moment_of(execution_id: str) -> datetime | None:
    """Return the time in an id that Rollguard created; None for a caller's own."""
    if not execution_id.startswith("rg"):
        return None
    match = _OURS.fullmatch(execution_id)
    return None if match is None else _EPOCH + timedelta(microseconds=int(match[1], 16))
