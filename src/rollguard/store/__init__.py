"""The only code that knows SQL. `ExecutionStore` is its door."""

from rollguard.store.executions.complete import text_of
from rollguard.store.executions.encoding import Encoding
from rollguard.store.executions.ids import id_of
from rollguard.store.executions.payloads import Payloads, Redact
from rollguard.store.improvements.attempts import Caps, Finding, Step
from rollguard.store.improvements.conditions import fewer_than, nothing_else_is_open, votes_are
from rollguard.store.monitoring.starting import Beginning
from rollguard.store.probe import Checkup
from rollguard.store.retention.retention import Tidied
from rollguard.store.rollbacks.claim import Intention
from rollguard.store.rollbacks.of_release import PROGRAM
from rollguard.store.store import ExecutionStore
from rollguard.store.versions.edits import Place
from rollguard.store.versions.live_pointer import Moves, Pointer
from rollguard.store.versions.releases import NewRelease, Part
from rollguard.store.versions.standing import Standing
from rollguard.store.versions.versions import digest

__all__ = [
    "PROGRAM",
    "Beginning",
    "Caps",
    "Checkup",
    "Encoding",
    "ExecutionStore",
    "Finding",
    "Intention",
    "Moves",
    "NewRelease",
    "Part",
    "Payloads",
    "Place",
    "Pointer",
    "Redact",
    "Standing",
    "Step",
    "Tidied",
    "digest",
    "fewer_than",
    "id_of",
    "nothing_else_is_open",
    "text_of",
    "votes_are",
]
