"""A result in the sandbox is written as the same result of a recorded call is, so that both can be compared."""

from __future__ import annotations

import collections
import enum
import json
import pathlib
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from rollguard.sandbox.json_form import json_of
from rollguard.store.executions.payloads import Payloads


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Model(BaseModel):
    at: datetime
    tags: set[str]


@dataclass
class Point:
    x: int
    of: Any = None


class Odd:
    def __repr__(self) -> str:
        raise SystemExit


VALUES = [
    {"a": [1, 2.5, None, True, "ü\ud800"]},
    (1, "a"),
    float("nan"),
    [float("inf"), -float("inf")],
    {1: "a", None: "b"},
    {"b": b"\x00\xff"},
    {"s": {3}, "f": frozenset()},
    [Colour.RED, Number.ONE],
    Point(1, Point(2)),
    Model(at=datetime(2026, 1, 1, tzinfo=UTC), tags={"a"}),
    [datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None), date(2026, 1, 1)],
    [Decimal("1.50"), uuid.UUID(int=1), pathlib.Path("/a"), pathlib.PurePosixPath("/a")],
    collections.OrderedDict(a=1),
    [Odd(), object(), print],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_result_has_the_recorded_form(value: Any) -> None:
    """The text of a result has the same value in it as the recorded one."""
    recorded = Payloads().encode("my_tool", "result", value)
    assert recorded is not None
    assert json.loads(json_of(value)) == json.loads(recorded)


def test_a_result_that_holds_itself() -> None:
    """A result that holds itself, or is nested too deeply, is written all the same."""
    circle: list[Any] = []
    circle.append(circle)
    assert json_of(circle).count("[") == 100
