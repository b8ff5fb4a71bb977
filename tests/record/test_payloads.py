"""Any value becomes JSON, of a limited size, redacted first or left out."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import logging
import types
import uuid
from collections import ChainMap, OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, SecretStr

from rollguard import ExecutionStore
from rollguard.store.executions.payloads import MAX_DEPTH, Payloads, clean_text


class Color(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


@dataclass
class Point:
    x: int
    inner: Any = field(default=None, repr=False)


class Order(BaseModel):
    item: str
    inner: Any = None
    card: str = Field(default="4111", exclude=True)


class Rows(RootModel[list[int]]):
    pass


Pair = namedtuple("Pair", "a b")


class Mute:
    def __repr__(self) -> str:
        raise OSError("no words")


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class LoudText(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise OSError


def strict(text: str | None) -> Any:
    """The decoded text, which must be JSON as the standard has it, in ASCII."""
    assert text is not None
    assert text.isascii()

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ([float("nan"), float("inf"), -float("inf")], ["NaN", "Infinity", "-Infinity"]),
        (b"\xff\x00", "_wA="),
        ({1, 2}, [1, 2]),
        (frozenset(["a"]), ["a"]),
        ((1, (2,)), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        (dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "2026-03-01T00:00:00Z"),
        (dt.timedelta(seconds=90), "PT1M30S"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/a/b"), "/a/b"),
        ([Color.RED, Number.ONE], ["red", 1]),
        (Point(1, Point(2)), {"x": 1, "inner": {"x": 2, "inner": None}}),
        (Order(item="a", inner=Point(1)), {"item": "a", "inner": {"x": 1, "inner": None}}),
        (Rows([1, 2]), [1, 2]),
        (SecretStr("hidden"), "**********"),
        (OrderedDict(a=1), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (
            {1: "int", None: "none", 1.5: "float", False: "bool"},
            {"1": "int", "null": "none", "1.5": "float", "false": "bool"},
        ),
        ({(1, "a"): 2, b"k": 3}, {'[1, "a"]': 2, "aw==": 3}),
        ("\ud800\0\u2028é😀", "\ud800\0\u2028é😀"),
        ({"\ud800\0": 1}, {"\ud800\0": 1}),
        (10**5000, hex(10**5000)),
        (Mute(), "<Mute>"),
        ([Mute(), 1], ["<Mute>", 1]),
        (LoudText("a"), "a"),
        ({"n": float("nan"), "t": LoudText("a")}, {"n": "NaN", "t": "a"}),
        (int, "<type>"),
        ([numpy.int64(7), numpy.float32(0.5), numpy.bool_(True)], [7, 0.5, True]),
        (False, False),
        ("", ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values(value: Any, expected: Any) -> None:
    """What JSON has a form for keeps it; everything else has a near or a readable one. Redaction sees the same."""
    payloads = Payloads(max_bytes=100_000)
    assert strict(payloads.encode("t", "result", value)) == expected
    seen = []
    Payloads(max_bytes=100_000, redact=lambda _tool, _what, plain: seen.append(plain)).encode("t", "result", value)
    assert json.loads(json.dumps(seen[0], allow_nan=False)) == expected


def test_circles_and_depths() -> None:
    """A value that contains itself, or is nested too deeply, is kept as far as it goes."""
    payloads = Payloads(max_bytes=10**6)
    circle: dict[str, Any] = {"a": 1}
    circle["self"] = [circle]
    assert strict(payloads.encode("t", "result", circle)) == {"a": 1, "self": ["<circular>"]}
    deep: Any = "bottom"
    for _ in range(50_000):
        deep = [deep]
    kept = strict(payloads.encode("t", "result", {"deep": deep, "beside": 1}))
    assert kept["beside"] == 1
    for _ in range(MAX_DEPTH - 1):
        (kept,) = kept["deep"] if isinstance(kept, dict) else kept
    assert kept == f"<deeper than {MAX_DEPTH} levels>"
    twice = [1]
    assert strict(payloads.encode("t", "result", [twice, twice, float("nan")])) == [[1], [1], "NaN"]


def test_hostile_objects() -> None:
    """An object that raises at every look does not disturb what is around it."""
    kept = strict(Payloads().encode("t", "result", {"a": 1, "odd": Hostile(), "b": {Hostile: Hostile()}}))
    assert kept["a"] == 1
    assert list(kept) == ["a", "odd", "b"]


def test_iterators_stay_whole() -> None:
    """Nothing that can be read only once is read."""
    generator, counted, lines = (x for x in [1, 2]), iter([1]), map(str, [1])
    value = {"g": [generator], "i": Point(1, counted), "m": Order(item="a", inner=lines), "q": deque([1])}
    strict(Payloads(redact=lambda *given: given[2]).encode("t", "result", value))
    strict(Payloads().encode("t", "result", value))
    assert (list(generator), list(counted), list(lines)) == ([1, 2], [1], ["1"])


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.builds(Mute),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.floats() | st.tuples(st.text()), inner)
        | st.tuples(inner, inner)
        | st.builds(Point, st.integers(), inner)
        | st.builds(Order, item=st.text(), inner=inner)
    ),
    max_leaves=20,
)


@given(value=_VALUES, limit=st.integers(64, 400))
def test_any_value_within_the_limit(value: Any, limit: int) -> None:
    """Whatever the value, the text is valid JSON in ASCII within the limit: of a larger one its beginning."""
    text = Payloads(max_bytes=limit).encode("t", "result", value)
    if value is None:
        assert text is None
        return
    kept = strict(text)
    assert text is not None
    assert len(text) <= limit
    whole = Payloads(max_bytes=10**9).encode("t", "result", value)
    assert whole is not None
    if len(whole) > limit:
        assert set(kept) == {"truncated", "beginning"}
        assert kept["truncated"] is True
        assert whole.startswith(kept["beginning"])
        # As much as fits: the next character would not.
        more = json.dumps({**kept, "beginning": whole[: len(kept["beginning"]) + 1]})
        assert len(more) > limit
    else:
        assert text == whole


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_plain_values_come_back(value: Any) -> None:
    """What JSON can say comes back equal."""
    if value is not None:
        assert strict(Payloads(max_bytes=10**9).encode("t", "parameters", value)) == value


# --- redaction and the off switch ------------------------------------------------------------------------------------


def test_redaction() -> None:
    """The hook is told the tool and which of the two it is, and what it returns is kept."""
    told: list[tuple[str, str, Any]] = []

    def redact(tool: str, what: str, value: Any) -> Any:
        told.append((tool, what, value))
        return {"only": what}

    payloads = Payloads(redact=redact)
    assert strict(payloads.encode("t", "parameters", {"a": Point(1)})) == {"only": "parameters"}
    assert strict(payloads.encode("u", "result", 5)) == {"only": "result"}
    assert payloads.encode("u", "result", None) is None
    assert told == [("t", "parameters", {"a": {"x": 1, "inner": None}}), ("u", "result", 5)]
    assert Payloads(redact=lambda *_: None).encode("t", "result", 5) is None


def test_redaction_in_place() -> None:
    """A hook that changes its value in place changes a copy, not what the tool or its caller holds."""
    value = {"card": "4111", "inner": [{"card": "4111"}]}

    def redact(_tool: str, _what: str, plain: Any) -> Any:
        plain["card"] = plain["inner"][0]["card"] = "***"
        return plain

    assert strict(Payloads(redact=redact).encode("t", "result", value)) == {"card": "***", "inner": [{"card": "***"}]}
    assert value == {"card": "4111", "inner": [{"card": "4111"}]}


def test_redaction_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """When the hook raises, nothing of the value is kept or logged, also when the exception quotes it."""

    def redact(_tool: str, _what: str, value: Any) -> Any:
        raise ValueError(f"cannot redact {value}")

    with caplog.at_level(logging.DEBUG):
        text = Payloads(redact=redact).encode("t", "parameters", {"card": "4111"})
    assert strict(text) == {"redaction_failed": "ValueError"}
    assert "parameters of t failed with ValueError" in caplog.text
    assert "4111" not in caplog.text


def test_off_switch() -> None:
    """Where payloads are switched off, nothing is kept and no hook is asked."""
    asked: list[Any] = []
    payloads = Payloads(keep=False, redact=lambda *given: asked.append(given))
    assert payloads.encode("t", "parameters", {"a": 1}) is None
    assert asked == []


# --- in the databases ------------------------------------------------------------------------------------------------


def test_reading_back(store: ExecutionStore) -> None:
    """What is stored reads back as valid JSON in the database's own terms too."""
    values = ["\ud800\0", float("nan"), b"\0", "x" * 100_000, '"\\' * 20_000, {"ключ": "значение"}, Mute()]
    for value in values:
        store.store_tool_execution(tool_name="t", success=True, parameters={"v": value}, result=value)
    valid = "json_valid(result)" if store.database.dialect == "sqlite" else "(result::json IS NOT NULL)"
    with store.database.read() as connection:
        rows = connection.execute(sa.text(f"SELECT parameters, result, {valid} FROM tool_executions ORDER BY id")).all()
    assert len(rows) == len(values)
    for parameters, result, is_valid in rows:
        strict(parameters)
        strict(result)
        assert is_valid
        assert len(result) <= 16_384
    assert json.loads(rows[0].result) == "\ud800\0"
    assert json.loads(rows[5].result) == {"ключ": "значение"}


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 50))
def test_clean_text(text: str, limit: int) -> None:
    """Error texts hold nothing that a database refuses, and are limited; ordinary text is left as it is."""
    cleaned = clean_text(text, limit)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) <= limit + len("… ( characters)") + 6
    if len(text) <= limit and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
        assert cleaned == text


@given(
    st.dictionaries(
        st.sampled_from(["city", "days", "100 %", "é", "limit", "unit"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    ),
    st.integers(64, 200),
)
def test_simple_parameters_are_written_as_any_others(parameters: dict[str, Any], limit: int) -> None:
    """What is encoded after the call has the same meaning as what is copied first, within the same limit."""
    payloads = Payloads(max_bytes=limit)
    payloads.encode("t", "parameters", parameters)  # now its names are known
    written = payloads.encode("t", "parameters", parameters)
    copied = payloads.encode("t", "parameters", parameters, [None])
    assert json.loads(str(written)) == json.loads(str(copied))
    assert str(written).isascii()
    assert len(str(written)) <= limit


_PLAIN_ITEMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["},{", "}", ","])


@given(
    st.lists(
        st.none()
        | st.dictionaries(st.sampled_from(["city", "é", "},{", "password"]), _PLAIN_ITEMS)
        | st.sampled_from([{"city": ["},{"]}, {"city": {}}, "Oslo", 7, {1: 2}, {"city": "x" * 100}]),
        max_size=5,
    ),
    st.integers(64, 200),
)
def test_many_values_are_written_as_each_alone(values: list[Any], limit: int) -> None:
    """Values that are encoded together are stored as if each had come alone, secrets and limits included."""
    payloads = Payloads(max_bytes=limit)
    payloads.encode("t", "parameters", dict.fromkeys(["city", "é", "},{"]))  # now these names are known
    for what in ("parameters", "result"):
        alone = [None if value is None else payloads.encode("t", what, value) for value in values]
        assert payloads.encode_each(["t"] * len(values), what, values) == alone


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, "x" * 20_000, 10**5_000, b"x", Number.ONE, Mute()], ids=lambda v: str(type(v))
)
def test_what_may_change_or_is_large_is_encoded_at_once(value: Any) -> None:
    """Only few short values that nobody can change wait for their encoding; a secret never does."""
    payloads = Payloads()
    payloads.encode("t", "parameters", {"city": 1, "password": "x"})
    assert payloads.is_simple({"city": "Oslo"})
    assert not payloads.is_simple({"city": value})
    assert not payloads.is_simple({"password": "hunter2"})
    assert not Payloads(redact=lambda _tool, _what, given: given).is_simple({"city": "Oslo"})
