"""How and why a version goes live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rollguard.errors import DeploymentConflict, InvalidInput
from rollguard.model.given import understood_time
from rollguard.model.names import checked_id
from rollguard.model.rollout import Rollout
from rollguard.store import Beginning
from rollguard.store.executions.payloads import clean_text


@dataclass(frozen=True, slots=True)
class DeploymentRequest:
    """How a version goes live.

    Attributes:
        by: who makes it live.
        reason: why.
        at: when; None is the moment of the deployment.
        force: whether code that was rolled back may go live; this lifts its quarantine.
        watch: starts monitoring it, in the transaction that makes it live.
        promotes: the rollout that ends so.
        replaces: the hash of the code that it may replace; None is any.

    Raises:
        InvalidInput: a value is invalid.
    """

    by: str
    reason: str | None = None
    at: datetime | None = None
    force: bool = False
    watch: Beginning | None = None
    promotes: Rollout | None = None
    replaces: str | None = None

    def __post_init__(self) -> None:
        checked_id("created_by", self.by)
        if self.reason is not None and (not isinstance(self.reason, str) or clean_text(self.reason) != self.reason):
            raise InvalidInput("reason: give text of at most 8192 characters, without NUL")
        at = understood_time(self.at)
        if at is not None and not isinstance(at, datetime):
            raise InvalidInput(f"deployed_at: {self.at!r} is not a datetime, nor a time in ISO 8601")
        object.__setattr__(self, "at", at)

    def refuse_other(self, tool_name: str, sha256: str | None) -> None:
        """Raise `DeploymentConflict` if other code is live, or in the tool's file, than what it may replace."""
        if self.replaces is not None and sha256 != self.replaces:
            raise DeploymentConflict(
                f"{tool_name}: other code is there by now than this deployment was to replace, so nothing was deployed"
            )

    @property
    def moment(self) -> datetime:
        """Return when it goes live: the given time, or now."""
        return self.at or datetime.now(UTC)
