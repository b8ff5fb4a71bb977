"""The only code that knows SQL. `ExecutionStore` is its door; `records` are the rows the others see."""

from rollguard.store.executions import text_of
from rollguard.store.names import checked_tool_name
from rollguard.store.records import Deployment, Failure, PendingNotification, Rollback, Session, Version, VersionRecord
from rollguard.store.retention import Tidied
from rollguard.store.rollbacks import Intention
from rollguard.store.store import ExecutionStore
from rollguard.store.versions import digest

__all__ = [
    "Deployment",
    "ExecutionStore",
    "Failure",
    "Intention",
    "PendingNotification",
    "Rollback",
    "Session",
    "Tidied",
    "Version",
    "VersionRecord",
    "checked_tool_name",
    "digest",
    "text_of",
]
