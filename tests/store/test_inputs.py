"""Values of other types than Rollguard's own are understood if their meaning is certain, and refused if it is not."""

from __future__ import annotations

import uuid
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import Any

import numpy
import pytest
import sqlalchemy as sa

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import InvalidInput, InvalidSetting
from tests.conftest import NOW, code

KEY = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("success", 1, True),
        ("success", 0, False),
        ("success", numpy.bool_(True), True),
        ("success", numpy.int64(0), False),
        ("duration_ms", timedelta(seconds=1.5), 1_500.0),
        ("duration_ms", Decimal("12.5"), 12.5),
        ("duration_ms", numpy.float32(0.5), 0.5),
        ("duration_ms", numpy.int64(7), 7.0),
        ("duration_ms", numpy.timedelta64(2, "s"), 2_000.0),
        ("duration_ms", numpy.timedelta64(1_500_000, "ns"), 1.5),
        ("executed_at", "2026-03-01T12:00:00Z", NOW),
        ("executed_at", "2026-03-01 13:00:00+01:00", NOW),
        ("version_number", numpy.int32(3), 3),
        ("execution_id", KEY, str(KEY)),
        ("request_id", KEY, str(KEY)),
        ("request_id", 4711, "4711"),
        ("request_id", numpy.int64(4711), "4711"),
    ],
)
def test_values_of_other_types(store: ExecutionStore, field: str, given: Any, stored: Any) -> None:
    """Each is stored as what it means, given alone or among many."""
    execution = {"tool_name": "t", "success": True, "executed_at": NOW, field: given}
    store.store_tool_execution(**execution)
    store.store_tool_executions([{"tool_name": "t", "success": True}, execution | {"tool_name": "u"}])
    with store.database.read() as connection:
        column = sa.column(field, sa.DateTime(timezone=True) if field == "executed_at" else None)
        names = sa.select(column).select_from(sa.table("tool_executions")).where(sa.column("tool_name") == "t")
        (found, *_) = connection.execute(names.order_by(sa.column("id"))).scalars()
    assert (found if found is None or found == stored else found.replace(tzinfo=UTC)) == stored


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("success", 2),
        ("success", "1"),
        ("success", "true"),
        ("success", None),
        ("duration_ms", "12"),
        ("duration_ms", True),
        ("duration_ms", timedelta(seconds=-1)),
        ("duration_ms", Decimal("NaN")),
        ("executed_at", 1_772_366_400),
        ("executed_at", "1772366400"),
        ("executed_at", "2026-03-01"),
        ("executed_at", date(2026, 3, 1)),
        ("executed_at", numpy.datetime64("2026-03-01T12:00:00")),
        ("version_number", 1.5),
        ("version_number", True),
        ("request_id", 1.5),
        ("request_id", True),
    ],
)
def test_values_whose_meaning_is_uncertain(store: ExecutionStore, field: str, given: Any) -> None:
    """A number that may be seconds or milliseconds, a date without a time and the like are refused by their field."""
    with pytest.raises(InvalidInput, match=f"^{field}: "):
        store.store_tool_execution(**{"tool_name": "t", "success": True, field: given})


def test_times_of_the_monitor(registry: ToolRegistry, monitor: DeploymentMonitor) -> None:
    """A deployment's time and the present moment may be texts in ISO 8601; rules may be of numpy and `timedelta`s."""
    registry.deploy("my_tool", code(1), deployed_at="2026-03-01T10:00:00Z")
    session = monitor.start_monitoring("my_tool", "2026-03-01T12:00:00Z", now=NOW, min_executions=numpy.int64(20))
    report = monitor.check_health("my_tool", str(session), now="2026-03-01T13:00:00Z")
    assert report["hours_since_deployment"] == 1.0
    with pytest.raises(InvalidInput, match="deployment_time: '2026-03-01' is not a datetime"):
        monitor.start_monitoring("my_tool", "2026-03-01", now=NOW)
    rules = monitor.rules.with_overrides(
        {
            "monitoring_window_hours": timedelta(days=2),
            "regression_threshold": Decimal("0.2"),
            "baseline_window_days": timedelta(weeks=2),
        }
    )
    assert (rules.monitoring_window_hours, rules.regression_threshold, rules.baseline_window_days) == (48, 0.2, 14)
    with pytest.raises(InvalidSetting, match="monitoring_window_hours"):
        monitor.rules.with_overrides({"monitoring_window_hours": timedelta(minutes=90)})
