"""The only code that knows SQL. `ExecutionStore` is its door; `records` are the rows the others see."""

from rollguard.store.checkup import Checkup
from rollguard.store.decisions import Intention
from rollguard.store.fields import text_of
from rollguard.store.names import checked_tool_name
from rollguard.store.pointers import Moves, Pointer
from rollguard.store.records import (
    Deployment,
    Failure,
    PendingNotification,
    Quarantined,
    Rollback,
    Session,
    Unsettled,
    Unverified,
    Version,
    VersionRecord,
)
from rollguard.store.retention import Tidied
from rollguard.store.sessions import Beginning
from rollguard.store.store import ExecutionStore
from rollguard.store.versions import Standing, digest

__all__ = [
    "Beginning",
    "Checkup",
    "Deployment",
    "ExecutionStore",
    "Failure",
    "Intention",
    "Moves",
    "PendingNotification",
    "Pointer",
    "Quarantined",
    "Rollback",
    "Session",
    "Standing",
    "Tidied",
    "Unsettled",
    "Unverified",
    "Version",
    "VersionRecord",
    "checked_tool_name",
    "digest",
    "text_of",
]
