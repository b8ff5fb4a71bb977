"""What the stories of the agents share."""

from __future__ import annotations

from itertools import groupby

from rollguard import Rollguard
from tests.registry.helpers import executions

CALLS = 10


def deploy_with(guard: Rollguard, tool_name: str, right: str, wrong: str) -> None:
    """Deploy the tool's file with a mistake in it."""
    code = guard.registry.folder.file(tool_name).read_text()
    assert right in code
    assert guard.deploy(tool_name, code.replace(right, wrong), reason="tidier").session_id is not None


def was_rolled_back_and_recovered(guard: Rollguard, tool_name: str) -> None:
    """Check what is stored: the calls by version, the rollback, and its verification."""
    rows = executions(guard.store, tool_name)
    told = [(version, success, len(list(same))) for (version, success), same in groupby(rows, _version_and_success)]
    assert told == [(1, True, CALLS), (2, False, CALLS), (1, True, CALLS)]
    (rollback,) = guard.store.rollbacks.recent(tool_name=tool_name)
    assert (rollback.from_version, rollback.to_version, rollback.rollback_successful) == (2, 1, True)
    assert rollback.verification_success is True
    assert "recovered: 0 of 10 calls failed" in (rollback.verification_note or "")


def _version_and_success(row: dict[str, object]) -> tuple[object, object]:
    return row["version_number"], row["success"]
