"""What a store promises, whole on both databases."""

from __future__ import annotations

from rollguard import ExecutionStore
from tests.conftest import NOW


def test_repeated_execution_id_is_stored_once(store: ExecutionStore) -> None:
    """Writing the same `execution_id` again changes nothing."""
    for _ in range(2):
        store.store_tool_execution(tool_name="t", success=True, execution_id="a", executed_at=NOW)
    assert store.store_tool_executions([{"tool_name": "t", "success": False, "execution_id": "a"}]) == 0
