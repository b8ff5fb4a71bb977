"""The state of one tool, for those that hold its lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rollguard.model.version import Version


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a tool whose lock is held.

    Attributes:
        live: the version that is live; None if the tool was never deployed.
        deployment_id: the deployment that is live.
        rollback_under_way: whether a rollback of it is decided and not over.
        find: returns the version with a given SHA-256, None if there is none.
    """

    live: Version | None
    deployment_id: int | None
    rollback_under_way: bool
    find: Callable[[str], Version | None]
