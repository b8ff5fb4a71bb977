"""The result of a deployment through the whole system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollguard.compat import Change


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result of a deployment.

    Attributes:
        tool_name: the tool.
        version_number: the version that is live now, or serves beside the live one.
        session_id: the session that monitors it; None if it is not monitored.
        changed: False if the code was live already, so that nothing was deployed.
        changes: the changes that callers of the tool notice, breaking ones first.
        put_back: whether the code was live already, but its file held other code and was restored.
        rollout_id: the rollout in which it serves beside the live version; None if it is live.
    """

    tool_name: str
    version_number: int
    session_id: int | None
    changed: bool
    changes: tuple[Change, ...] = ()
    put_back: bool = False
    rollout_id: int | None = None
