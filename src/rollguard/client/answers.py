"""What a service answers, as far as no other part of Rollguard has a form for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveRollout:
    """By what the calls of a tool are drawn while two versions of it serve.

    Attributes:
        share: the probability with which a unit gets the new version.
        key: the key of the draw, in hexadecimal.
    """

    rollout_id: int
    old_version: int
    old_sha256: str
    new_version: int
    new_sha256: str
    stage: int
    share: float
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """The version of a tool that is live.

    Attributes:
        sha256: the hash of its code.
        deployment_id: rises with every move of the live version.
        rollout: by what its calls are drawn, if another version of it serves too.
    """

    tool_name: str
    version_number: int
    sha256: str
    deployment_id: int
    rollout: LiveRollout | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """The result of a deployment.

    Attributes:
        session_id: the session that monitors it; None if it is not monitored.
        changed: False if the code was live already.
        put_back: whether its file held other code and was restored.
        changes: what callers notice, each with its `kind`, `sentence` and whether it is `breaking`.
        rollout_id: the rollout in which it serves beside the live version; None if it is live.
    """

    tool_name: str
    version_number: int
    session_id: int | None
    changed: bool
    put_back: bool
    changes: list[dict[str, Any]]
    rollout_id: int | None = None
