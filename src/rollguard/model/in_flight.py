"""Calls that began and have not ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollguard.model.split import Drawn


@dataclass(frozen=True, slots=True)
class CallInFlight:
    """A call that began and has not ended.

    Attributes:
        tool_name: the tool.
        version_number: the version that runs; None if it is unknown.
        began_at: when it began, in UTC.
        host, pid: the process that runs it, and its machine; None for this process.
        request_id: what it was made for.
        drawn: how its version was drawn, of a tool under rollout.
        lost: whether that process has given no sign of life for some minutes, so that the call may be over.
    """

    tool_name: str
    version_number: int | None
    began_at: datetime
    host: str | None = None
    pid: int | None = None
    lost: bool = False
    request_id: str | None = None
    drawn: Drawn | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the call as a JSON-safe mapping."""
        names = ("tool_name", "version_number", "host", "pid", "lost")
        return {**{name: getattr(self, name) for name in names}, "began_at": self.began_at.isoformat()}
