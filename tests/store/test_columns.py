"""An execution is declared once; many are checked at once, and each is kept or refused as it would be alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from rollguard.cli import ingest
from rollguard.errors import InvalidInput, InvalidToolName
from rollguard.model.execution import FIELDS, Execution, checked
from rollguard.store.executions.complete import complete
from rollguard.store.executions.ids import moment_of, new_id
from rollguard.store.executions.payloads import Payloads
from rollguard.store.schema import tool_executions
from tests.conftest import NOW

OURS = new_id(NOW)


def test_an_execution_is_declared_once() -> None:
    """The columns of the table, of a CSV file and the arguments of `store_tool_execution` are the class's fields."""
    assert set(FIELDS) == set(tool_executions.columns.keys()) - {"id"}
    assert list(ingest.COLUMNS) == list(FIELDS)
    _self, *arguments = inspect.signature(ExecutionStore.store_tool_execution).parameters.values()
    fields = inspect.signature(Execution).parameters
    assert [(argument.name, argument.default) for argument in arguments] == [
        (name, field.default) for name, field in fields.items()
    ]


def test_every_needed_column_is_a_needed_field() -> None:
    """What the table wants of a program is what an execution cannot be without."""
    needed = {column.name for column in tool_executions.columns if not column.nullable and not column.server_default}
    assert needed - {"id"} == set(FIELDS) - set(Execution._field_defaults)


# What each field may be, beside what it is kept as; and what it may not be.
GOOD: dict[str, list[tuple[Any, Any]]] = {
    "tool_name": [(name, name) for name in ("a", "b", "ünï", "a/b.c", "..", "x" * 255)],
    "success": [(True, True), (False, False)],
    "duration_ms": [(None, None), (0.0, 0.0), (1.5, 1.5), (1e15, 1e15), (12, 12.0), (0, 0.0)],
    "parameters": [(None, None), ({}, "{}"), ({"a": 1}, '{"a":1}'), (math.nan, '"NaN"'), ("secret", '"a parameters"')],
    "result": [(None, None), (0, "0"), (False, "false"), ("", '""'), ({"b": None}, '{"b":null}')],
    "executed_at": [
        (NOW, NOW),
        (NOW + timedelta(seconds=1), NOW + timedelta(seconds=1)),
        (NOW.astimezone(timezone(timedelta(hours=2))), NOW),
        (NOW.astimezone().replace(tzinfo=None), NOW),
    ],
    "version_number": [(None, None), (1, 1), (2, 2), (2**31 - 1, 2**31 - 1)],
    "tags": [(None, None), ({}, None), ({"b": 1, "a": "x"}, '{"a":"x","b":1}')],
    "score": [(None, None), (0.0, 0.0), (1, 1.0), (0.29, 0.29)],
    "failed_at": [
        (None, None),
        ({"function": "f", "line": 3, "text": "x"}, '{"function": "f", "line": 3, "text": "x"}'),
        ('{"function": "f", "line": 3, "text": "x"}', '{"function": "f", "line": 3, "text": "x"}'),
    ],
    "traceback": [(None, None), ("Traceback: token=abcdef", "Traceback: token=***")],
    "execution_id": [("own", "own"), ("x" * 255, "x" * 255)],
    "request_id": [(None, None), ("r", "r"), ("x" * 255, "x" * 255)],
}
BAD: dict[str, list[Any]] = {
    "tool_name": ["", " ", "a\\b", "x" * 256, 7, None, ["a"]],
    "success": [2, 0.5, None, "yes", "true"],
    "duration_ms": [True, -1.0, -0.1, math.nan, math.inf, "1", 10**30, 10**400, 1e308, 1.1e15],
    "executed_at": ["now", "2026-03-01", 5, NOW.date()],
    "version_number": [0, -1, 2**31, True, "1", 1.0, 10**30],
    "execution_id": ["", "x" * 256, "line\n", 1.5],
    "request_id": ["", True, "x" * 256, "nul\0"],
    "score": [-0.1, 1.1, True, math.nan, "1"],
    "failed_at": ["f:3", 3, {}, {"function": "f", "line": 0, "text": ""}, {"function": 1, "line": 1, "text": ""}],
    "traceback": [b"x", 3],
    "tags": ["a", [], {"": 1}, {"a": None}, {"a": "x" * 256}],
}
USUAL = {"tool_name": "a", "success": True, "executed_at": NOW}


def _redacted(tool: str, what: str, value: Any) -> Any:
    return f"a {what}" if value == "secret" else value


PAYLOADS = Payloads(redact=_redacted)


def _kept(many: list[dict[str, Any]]) -> list[Execution]:
    return [Execution._make(values) for values in zip(*complete(checked(many), PAYLOADS), strict=True)]


def _values(of: Mapping[str, list[Any]], *needed: str) -> st.SearchStrategy[dict[str, Any]]:
    each = {field: st.sampled_from(values) for field, values in of.items()}
    return st.fixed_dictionaries({f: each.pop(f) for f in needed}, optional=each)


@given(st.lists(_values(GOOD, "tool_name", "success"), min_size=1, max_size=4))
def test_what_is_allowed(many: list[dict[str, Any]]) -> None:
    """Allowed values are kept as they are meant, and a field that is not given is None, or made."""
    before = datetime.now(UTC)
    found = _kept([{f: v[0] for f, v in one.items()} for one in many])
    after = datetime.now(UTC)
    for given_values, execution in zip(many, found, strict=True):
        kept = {field: value[1] for field, value in given_values.items()}
        made = {"executed_at": execution.executed_at, "execution_id": execution.execution_id}
        assert execution._asdict() == {**dict.fromkeys(FIELDS), **made, **kept}
        assert execution.executed_at is not None
        assert execution.execution_id is not None
        assert execution.executed_at.tzinfo is UTC
        assert "executed_at" in kept or before <= execution.executed_at <= after
        assert "execution_id" in kept or moment_of(execution.execution_id) == execution.executed_at


@given(st.data())
def test_what_is_not_allowed(data: st.DataObject) -> None:
    """One bad value among many executions is named by its field and by which of them it is in."""
    many = [{field: value[0] for field, value in one.items()} for one in data.draw(st.lists(_values(GOOD, *USUAL)))]
    field = data.draw(st.sampled_from(sorted(BAD)))
    value = data.draw(st.sampled_from(BAD[field]))
    place = data.draw(st.integers(0, len(many)))
    many.insert(place, {**USUAL, field: value})
    with pytest.raises(InvalidToolName if field == "tool_name" else InvalidInput, match=f"^{field}: ") as refused:
        checked(many)
    assert refused.value.number == place + 1


@pytest.mark.parametrize("odd", [None, 5, "text", [], {1: 2}, ["a", 5]])
def test_what_is_no_execution(odd: Any) -> None:
    """Something else than a mapping of fields is refused as such."""
    with pytest.raises(InvalidInput) as refused:
        checked([USUAL, odd])
    assert refused.value.number == 2


@pytest.mark.parametrize("error", [None, "", "KeyError: x", "no type", ValueError("bad"), OSError(), 5])
@pytest.mark.parametrize("error_type", [None, "", "Custom", "x" * 300, 5])
def test_errors_are_kept_as_text(error: Any, error_type: Any) -> None:
    """Whatever is given as an error is kept as text, and so is its type."""
    (kept,) = _kept([{**USUAL, "error": error, "error_type": error_type}])
    assert kept.error == (None if error is None else str(error))
    told = type(error).__name__ if isinstance(error, Exception) else "KeyError" if error == "KeyError: x" else None
    expected = (error_type or told) if error is not None else error_type
    assert kept.error_type is None if expected is None else str(kept.error_type).startswith(str(expected)[:200])


def test_what_is_not_given() -> None:
    """Without a time an execution is of now; without an id it gets one of that time, another for each."""
    before = datetime.now(UTC)
    rows = _kept([{"tool_name": "t", "success": True}] * 3)
    ids, times = {row.execution_id for row in rows}, {row.executed_at for row in rows}
    assert len(ids) == 3
    assert times == {moment_of(str(execution_id)) for execution_id in ids}
    assert all(moment is not None and before <= moment <= datetime.now(UTC) for moment in times)


@pytest.mark.parametrize(
    "odd",
    [MappingProxyType({"tool_name": "t", "success": True}), {"tool_name": "t", "success": True, "duration_ms": 5}],
)
def test_one_among_many(store: ExecutionStore, odd: Mapping[str, Any]) -> None:
    """One that is out of the ordinary is stored among many that are not."""
    usual = {"tool_name": "t", "success": True}
    assert store.store_tool_executions([*([usual] * 700), odd, *([usual] * 700)]) == 1_401


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"success": True}, "tool_name"),
        ({"tool_name": "t"}, "success"),
        ({"tool_name": "t", "success": True, "durations": 1}, "durations"),
        ({"tool_name": "a\\b", "success": True}, "tool_name"),
        ({"tool_name": "t", "success": True, "request_id": ""}, "request_id"),
        ({"tool_name": "t", "success": True, "execution_id": OURS, "executed_at": NOW - timedelta(1)}, "execution_id"),
    ],
)
def test_a_wrong_one_among_many(store: ExecutionStore, wrong: dict[str, Any], field: str) -> None:
    """One that cannot be meant is named by its field, and nothing of the write is stored."""
    usual = {"tool_name": "t", "success": True}
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        store.store_tool_executions([*([usual] * 700), wrong, *([usual] * 700)])
    assert store.executions.tool_names() == []
