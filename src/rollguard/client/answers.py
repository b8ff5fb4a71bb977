"""What a service answers, as far as no other part of Rollguard has a form for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """The version of a tool that is live.

    Attributes:
        sha256: the hash of its code.
        deployment_id: rises with every move of the live version.
    """

    tool_name: str
    version_number: int
    sha256: str
    deployment_id: int


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result of a deployment.

    Attributes:
        session_id: the session that monitors it; None if it is not monitored.
        changed: False if the code was live already.
        put_back: whether its file held other code and was restored.
        changes: what callers notice, each with its `kind`, `sentence` and whether it is `breaking`.
    """

    tool_name: str
    version_number: int
    session_id: int | None
    changed: bool
    put_back: bool
    changes: list[dict[str, Any]]
