"""Carry out what a check or a person decides of a rollout: each step in one transaction, by exactly one process."""

from __future__ import annotations

from datetime import datetime

from rollguard.errors import DeploymentConflict, InvalidInput
from rollguard.model.given import checked_now
from rollguard.model.log import logger_of
from rollguard.model.names import checked_tool_name
from rollguard.model.ramp import Ramp, Signs, State
from rollguard.model.rollout import CANARY, Rollout
from rollguard.registry import ToolRegistry
from rollguard.store import ExecutionStore

logger = logger_of(__name__)


class RolloutSteps:
    """Advances, holds and ends rollouts. After a crash the next check takes the step that was not taken.

    Args:
        store: where rollouts are kept.
        registry: makes a version live, and lets processes draw by what the store says.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store, self._registry = store, registry

    def after_check(self, rollout: Rollout, signs: Signs, why: str, now: datetime) -> Rollout:
        """Return the rollout after a check. Evidence is acted upon by a rollback, before.

        Args:
            why: what the check found, in words.

        Raises:
            ActuatorFailed, ToolFileError, StoreUnavailable: it could not be promoted; the next check tries again.
        """
        ramp = rollout.ramp.after(signs, now)
        if ramp == rollout.ramp:
            return rollout
        try:
            return self._moved(rollout, ramp, "rollguard", why, now)
        except DeploymentConflict as conflict:  # another process, or a person, was faster
            present = self._store.rollouts.get(rollout.rollout_id)
            if present.revision == rollout.revision:  # not with the rollout, but with what is live
                logger.info("%s", conflict)
            return present

    def promote(
        self, tool_name: str, *, by: str = "human", reason: str | None = None, now: datetime | None = None
    ) -> Rollout:
        """Make the new version live now, at a person's request.

        Raises:
            InvalidInput: the tool is under no rollout.
            DeploymentConflict: somebody else changed the rollout, or what is live, at this moment.
            ActuatorFailed, ToolFileError, StoreUnavailable: as for `ToolRegistry.deploy`; the rollout goes on.
        """
        rollout, now = self._open(tool_name), checked_now(now)
        return self._moved(rollout, rollout.ramp.ended_by(State.PROMOTED, now), by, reason or "promoted by hand", now)

    def pause(
        self, tool_name: str, *, by: str = "human", reason: str | None = None, now: datetime | None = None
    ) -> Rollout:
        """Hold the share until a person resumes it. Evidence and the time limit still end the rollout.

        Raises:
            InvalidInput: the tool is under no rollout.
            DeploymentConflict: somebody else changed the rollout at this moment.
        """
        rollout, now = self._open(tool_name), checked_now(now)
        return self._moved(rollout, rollout.ramp.paused(), by, reason or "paused by hand", now)

    def resume(
        self, tool_name: str, *, by: str = "human", reason: str | None = None, now: datetime | None = None
    ) -> Rollout:
        """Let a paused rollout go on; the time of its stage begins again. The errors are those of `pause`."""
        rollout, now = self._open(tool_name), checked_now(now)
        return self._moved(rollout, rollout.ramp.resumed(now), by, reason or "resumed by hand", now)

    def abort(
        self, tool_name: str, *, by: str = "human", reason: str | None = None, now: datetime | None = None
    ) -> Rollout:
        """Let the old version serve alone again. The errors are those of `pause`."""
        rollout, now = self._open(tool_name), checked_now(now)
        return self._moved(rollout, rollout.ramp.ended_by(State.ABORTED, now), by, reason or "aborted by hand", now)

    def _open(self, tool_name: str) -> Rollout:
        rollout = self._store.rollouts.open_of(checked_tool_name(tool_name))
        if rollout is None:
            raise InvalidInput(
                f"{tool_name} is under no rollout; begin one with: rollguard deploy FILE --canary 10,25,50"
            )
        return rollout

    def _moved(self, rollout: Rollout, ramp: Ramp, by: str, why: str, now: datetime) -> Rollout:
        if ramp.state is State.PROMOTED and rollout.kind == CANARY:  # in a confirmation the new version is live
            self._registry.rolling.promote(rollout, by=by, why=why, at=now)
            return self._store.rollouts.get(rollout.rollout_id)
        quiet = ramp.state is rollout.ramp.state
        moved = self._store.rollouts.move(rollout, ramp, by=by, why=why, now=now)
        self._registry.rolling.bring()
        if moved is None:
            raise DeploymentConflict(f"{rollout.tool_name}: its rollout was changed at this moment; look at it again")
        if not quiet or ramp.stage != rollout.ramp.stage:
            logger.info("%s: its rollout is %s, at a share of %g: %s", moved.tool_name, ramp.state, ramp.share, why)
        return moved
