"""The only code that knows SQL. `ExecutionStore` is its door."""

from rollguard.store.executions.complete import text_of
from rollguard.store.executions.ids import id_of
from rollguard.store.executions.payloads import Redact
from rollguard.store.monitoring.sessions import Beginning
from rollguard.store.probe import Checkup
from rollguard.store.retention.retention import Tidied
from rollguard.store.rollbacks.claim import Intention
from rollguard.store.store import ExecutionStore
from rollguard.store.versions.edits import Place
from rollguard.store.versions.live_pointer import Moves, Pointer
from rollguard.store.versions.versions import Standing, digest

__all__ = [
    "Beginning",
    "Checkup",
    "ExecutionStore",
    "Intention",
    "Moves",
    "Place",
    "Pointer",
    "Redact",
    "Standing",
    "Tidied",
    "digest",
    "id_of",
    "text_of",
]
