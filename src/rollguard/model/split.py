"""Draw which of two versions a unit gets, by chance, so that each process draws without asking another one.

A unit is a call or, if calls name one, the request that they are made for. A request's name is hashed with the split's
key. The first 64 bits of the hash are a number that is uniform and independent of all others, whatever the names are,
to anybody who does not know the key. A call has no name: its number is one of the process's own generator, which begins
with random bits of the system. The unit gets the new version if its number is below the share. So the counts of any
number of processes together are binomial, and a request gets the same version in each of them.

Over the stages of a rollout the same number is compared with a rising share: a request that got the new version keeps
it. One that got the old version keeps that, in a process that remembers it; a unit counts for the arm that was drawn
first, see `rollguard.judge.arms`.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rollguard.errors import InvalidInput

_REMEMBERED = 10_000  # requests, the latest ones
_RANGE = 2**64


class Arm(StrEnum):
    """One of the two versions of a rollout."""

    NEW = "new"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Split:
    """What a process needs to know to draw: written by the rollout's stage, read like the live version.

    Attributes:
        rollout_id: the rollout's number.
        old, new: the numbers of the two versions.
        stage: the number of the stage, from 0 on.
        share: the probability with which a unit gets the new version.
        key: 1 to 64 bytes that are random and the same for all stages of the rollout.

    Raises:
        InvalidInput: the share or the key is invalid.
    """

    rollout_id: int
    old: int
    new: int
    stage: int
    share: float
    key: bytes

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise InvalidInput(f"share: {self.share!r} is not at least 0 and at most 1")
        if not 1 <= len(self.key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise InvalidInput(f"key: it has {len(self.key)} bytes, not 1 to {hashlib.blake2b.MAX_KEY_SIZE}")


@dataclass(frozen=True, slots=True)
class Drawn:
    """The arm of one unit, as it is recorded with its calls.

    Attributes:
        version: the number of the version that it gets.
        share: the probability with which it was given to the new version.
    """

    rollout_id: int
    arm: Arm
    version: int
    stage: int
    share: float


Ran = int | Drawn | None
"""The version that a call runs: its number, or how it was drawn; None if it is unknown."""


def version_of(ran: Ran) -> int | None:
    """Return the number of the version that a call runs."""
    return ran.version if isinstance(ran, Drawn) else ran


def draw(split: Split, unit: str) -> Drawn:
    """Return the arm of a unit: the same for each process and moment of one stage."""
    return _Draw(split).of(unit)


class _Draw:
    """The draw of one split, with all prepared that is the same for each unit."""

    __slots__ = ("_below", "_hash", "new", "old")

    def __init__(self, split: Split) -> None:
        self._below = None if split.share == 1.0 else math.ceil(split.share * _RANGE).to_bytes(8, "big")
        self._hash = hashlib.blake2b(digest_size=8, key=split.key)
        self.new, self.old = (
            Drawn(split.rollout_id, arm, version, split.stage, split.share)
            for arm, version in ((Arm.NEW, split.new), (Arm.OLD, split.old))
        )

    def of(self, unit: str) -> Drawn:
        hashed = self._hash.copy()
        hashed.update(unit.encode("utf-8", "surrogatepass"))
        return self.new if self._below is None or hashed.digest() < self._below else self.old


class Router(Protocol):
    """What gives each unit of a tool its version: in this process, in front of it, or at a target."""

    def use_split(self, tool_name: str, split: Split | None) -> None:
        """Use this split from now on; None says that one version serves alone."""

    def drawn(self, tool_name: str, request_id: str | None) -> Drawn | None:
        """Return the arm of the next unit; None if one version serves alone.

        Args:
            request_id: what the call is made for; without it the call is a unit of its own.
        """


class Drawing:
    """Draws the units of one split in this process.

    Attributes:
        new, old: what a unit of each arm gets.
    """

    __slots__ = ("_draw", "_draws", "_key", "_share", "new", "old")

    def __init__(self, draws: Draws, tool_name: str, split: Split) -> None:
        self._draws, self._draw, self._share = draws, _Draw(split), split.share
        self._key = tool_name, split.key  # a rollout's number may be that of an earlier one, after a restored backup
        self.new, self.old = self._draw.new, self._draw.old

    def next(self, request_id: str | None) -> Drawn:
        """Return the arm of the next unit; a request keeps its first arm and share."""
        if request_id is None:
            return self.new if self._draws.chance() < self._share else self.old
        requests, key = self._draws.requests, (self._key, request_id)
        found = requests.get(key)
        if found is None:
            found = requests.setdefault(key, self._draw.of(request_id))
            if len(requests) > _REMEMBERED:
                requests.popitem(last=False)
        return found


class Draws:
    """The router of this process. Its units are requests, and calls.

    Attributes:
        chance: returns a random number for each call, from 0 on and below 1.
        requests: what the latest requests of each split got.

    Args:
        process: what the draws of its calls begin with; by default random bits, and other ones after a fork.
    """

    def __init__(self, process: str | None = None) -> None:
        self._splits: dict[str, Drawing] = {}
        self.requests: OrderedDict[tuple[tuple[str, bytes], str], Drawn] = OrderedDict()
        self._given = process
        self.chance = random.Random(process or os.urandom(32)).random  # noqa: S311 - it is chance, and no secret
        _all.add(self)

    def use_split(self, tool_name: str, split: Split | None) -> None:
        """Use this split from now on; None says that one version serves alone."""
        if split is None:
            self._splits.pop(tool_name, None)
        else:
            self._splits[tool_name] = Drawing(self, tool_name, split)

    def drawn(self, tool_name: str, request_id: str | None) -> Drawn | None:
        """Return the arm of the next unit; a request keeps its first arm and share. None if one version serves."""
        drawing = self._splits.get(tool_name)
        return None if drawing is None else drawing.next(request_id)

    def _begin_anew(self) -> None:
        """Draw otherwise than the parent process."""
        seed = f"{self._given}:{os.getpid()}" if self._given else os.urandom(32)
        self.chance = random.Random(seed).random  # noqa: S311 - as above


_all: weakref.WeakSet[Draws] = weakref.WeakSet()


def _after_fork() -> None:
    for draws in list(_all):
        draws._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
