"""Executions that are checked column by column are the ones that are checked one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, RollguardError
from rollguard.store.executions.bulk_insert import COLUMNS
from rollguard.store.executions.executions import Executions
from rollguard.store.executions.ids import moment_of, new_id
from rollguard.store.executions.payloads import Payloads
from rollguard.store.executions.validate_many import checked_columns
from tests.conftest import NOW

OURS = new_id(NOW)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tool_name": st.sampled_from(["a", "b", "ünï", "", " ", "a/b", "x" * 256, 7, None, ["a"]]),
    "success": st.sampled_from([True, False, True, False, 1, 0, None, "yes"]),
    "duration_ms": st.sampled_from([None, 0.0, 1.5, 1e308, 12, True, -1.0, math.nan, math.inf, "1", 10**30]),
    "error": st.sampled_from([None, "", "KeyError: x", "no type", ValueError("bad"), OSError(), 5]),
    "error_type": st.sampled_from([None, "", "Custom", "x" * 300, 5]),
    "parameters": st.sampled_from([None, {}, {"a": 1}, [1.5, "x"], {1, 2}, math.nan, object, "secret"]),
    "result": st.sampled_from([None, 0, False, "", {"b": None}]),
    "executed_at": st.sampled_from(
        [NOW, NOW + timedelta(seconds=1), NOW.astimezone(timezone(timedelta(hours=2))), NOW.replace(tzinfo=None), "now"]
    ),
    "version_number": st.sampled_from([None, 1, 2, 2**31 - 1, 0, -1, 2**31, True, "1", 1.0]),
    "execution_id": st.sampled_from(["own", "x" * 255, OURS, "", "x" * 256, "line\n", 5]),
    "request_id": st.sampled_from([None, "r", "", 5, "x" * 256]),
}
EXECUTIONS = st.fixed_dictionaries(
    {"tool_name": VALUES["tool_name"], "success": VALUES["success"], "executed_at": VALUES["executed_at"]},
    optional={
        field: values for field, values in VALUES.items() if field not in ("tool_name", "success", "executed_at")
    },
)
USUAL = st.fixed_dictionaries(
    {
        "tool_name": st.sampled_from(["a", "b"]),
        "success": st.booleans(),
        "executed_at": st.sampled_from([NOW, NOW + timedelta(seconds=1)]),
        "execution_id": st.sampled_from(["own", "another"]),
    },
    optional={
        "duration_ms": st.none() | st.floats(0, 1e9),
        "error": VALUES["error"],
        "error_type": VALUES["error_type"],
        "parameters": VALUES["parameters"],
        "result": VALUES["result"],
        "version_number": st.sampled_from([None, 1, 2]),
        "request_id": st.sampled_from([None, "r"]),
    },
)


def _redacted(tool: str, what: str, value: Any) -> Any:
    return f"{tool} {what}" if value == "secret" else value


PAYLOADS = Payloads(redact=_redacted)


@pytest.fixture(scope="module")
def plain() -> Iterator[Executions]:
    """What checks executions one by one."""
    with ExecutionStore("sqlite://", redact=_redacted) as store:
        yield store.executions


def _one_by_one(plain: Executions, executions: list[dict[str, Any]]) -> list[dict[str, Any]] | type[RollguardError]:
    try:
        return [plain.row_from(execution) for execution in executions]
    except RollguardError as error:
        return type(error)


def _by_columns(executions: list[dict[str, Any]]) -> list[dict[str, Any]] | type[RollguardError] | None:
    try:
        rows = checked_columns(executions, PAYLOADS)
    except RollguardError as error:
        return type(error)
    return None if rows is None else [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _known(rows: Any) -> Any:
    """The rows, without the random half of ids that were made for them."""
    if not isinstance(rows, list):
        return rows
    return [
        {
            **row,
            "execution_id": row["execution_id"] if moment_of(row["execution_id"]) is None else row["execution_id"][:16],
        }
        for row in rows
    ]


@given(executions=st.lists(EXECUTIONS, min_size=1, max_size=4))
def test_whatever_is_given(plain: Executions, executions: list[dict[str, Any]]) -> None:
    """What is checked column by column is kept, or refused, as one by one; anything else is left to that."""
    found = _by_columns(executions)
    assert found is None or _known(found) == _known(_one_by_one(plain, executions))


@given(executions=st.lists(USUAL, min_size=1, max_size=4))
def test_what_is_usual(plain: Executions, executions: list[dict[str, Any]]) -> None:
    """Executions as programs record them are checked column by column, and kept as one by one."""
    found = _by_columns(executions)
    assert found is not None
    assert _known(found) == _known(_one_by_one(plain, executions))


def test_what_is_not_given(store: ExecutionStore) -> None:
    """Without a time an execution is of now; without an id it gets one of that time, another for each."""
    before = datetime.now(UTC)
    rows = list(checked_columns([{"tool_name": "t", "success": True}] * 3, Payloads()) or ())
    ids, times = ({row[COLUMNS.index(name)] for row in rows} for name in ("execution_id", "executed_at"))
    assert len(ids) == 3
    assert times == {moment_of(execution_id) for execution_id in ids}
    assert all(before <= moment <= datetime.now(UTC) for moment in times)


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
        ({"tool_name": "a/b", "success": True}, "tool_name"),
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
