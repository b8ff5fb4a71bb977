"""Carry out a rollback: claim, restore and finish. Safe to run in any process, any number of times."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from rollguard.errors import (
    ActuatorFailed,
    DeploymentConflict,
    RollbackRefused,
    RollguardError,
    StoreBusy,
    StoreUnavailable,
    ToolFileError,
    UnknownTool,
)
from rollguard.model.log import logger_of
from rollguard.model.names import toml_key
from rollguard.model.rollback import Rollback
from rollguard.registry import ToolRegistry, pause_after
from rollguard.registry.deploy.actuators import Actuator, Request, carry_out
from rollguard.rollback.events import failed_event, finished_event, held_event
from rollguard.rollback.investigation import investigation_of
from rollguard.store import ExecutionStore, Intention

logger = logger_of(__name__)


class RollbackRunner:
    """Restores the last good version of a tool.

    Args:
        store: the store of the rollbacks.
        registry: the registry whose folder or actuators put the version in place.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store = store
        self._registry = registry

    def roll_back(self, intention: Intention, now: datetime) -> Rollback:
        """Claim the rollback and carry it out.

        Returns:
            The rollback: finished; failed, observed or capped, with its `error`; or still claimed, if its actuator did
            not acknowledge. Rollguard then tries again.

        Raises:
            RollbackRefused: another decision came first, or the version is no longer live.
            StoreUnavailable: the database cannot be reached; `recover` carries out what was claimed.
        """
        claimed = self.claim(intention, now)
        return self.carry_out(claimed, now) if claimed.state == "claimed" else self._investigated(claimed, now)

    def roll_back_by_hand(
        self,
        tool_name: str,
        *,
        to_version: int | None,
        reason: str,
        requested_by: str,
        now: datetime,
        quarantine: bool = False,
    ) -> Rollback:
        """Roll a tool back on a person's request. This closes the session that monitors it.

        Args:
            to_version: the version to restore; None restores the last good one.
            quarantine: whether to quarantine the code that is replaced.

        Returns:
            The finished rollback.

        Raises:
            UnknownTool: the tool was never deployed.
            UnknownVersion: the tool has no such version.
            NoEarlierVersion: there is no version to go back to; nothing is recorded.
            RollbackRefused: another rollback of the tool is under way, or the version is already live.
            CodeQuarantined: the version to restore is in quarantine.
            ToolFileError: the file could not be written; this is recorded.
            ActuatorFailed: the tool's actuator did not acknowledge; this is recorded, and Rollguard tries again.
        """
        live = self._store.versions.live(tool_name)
        if live is None:
            raise UnknownTool(f"{tool_name} was never deployed, so there is nothing to roll back")
        session = next(iter(self._store.sessions.active(tool_name)), None)
        rollback = self.roll_back(
            Intention(
                tool_name=tool_name,
                session_id=session.session_id if session else None,
                from_version=live.version_number,
                to_version=to_version,
                reason=reason,
                rollback_type="manual",
                requested_by=requested_by,
                quarantine=quarantine,
            ),
            now,
        )
        if rollback.state != "finished":
            raise _error_of(rollback)
        return rollback

    def recover(self, now: datetime | None = None) -> list[Rollback]:
        """Carry out, exactly once, every rollback that another process claimed and did not finish.

        This also repairs files whose swap was interrupted, records calls that ended their process, and repeats calls
        to actuators whose result is unknown. A rollback that fails never stops the others; the next call tries again.

        Args:
            now: the present time; None reads the clock for each rollback, because a call to an actuator takes time.

        Returns:
            The rollbacks that this call ended.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        ended = []
        for claimed in self._store.rollbacks.open():
            with self._isolated(f"rollback {claimed.rollback_id} of {claimed.tool_name}"):
                done = self._recovered(claimed, now or datetime.now(UTC))
                if done is not None and not done.open:
                    ended.append(done)
        with self._isolated("calls that ended their process"):
            self._registry.collect_ended_calls()
        with self._isolated("interrupted swaps"):
            self._registry.settle_swaps()
        with self._isolated("remote tools"):
            self._registry.remote.settle(now)
        return ended

    def _recovered(self, claimed: Rollback, now: datetime) -> Rollback | None:
        try:
            stale = self._store.rollbacks.overtake_if_stale(claimed.rollback_id, now)
            return stale or self.carry_out(claimed, now)
        except RollbackRefused as refusal:
            logger.info("nothing to recover: %s", refusal)
            return None

    @contextlib.contextmanager
    def _isolated(self, what: str) -> Iterator[None]:
        """Log an error instead of raising it, so that the others are recovered; an unreachable database stops all."""
        try:
            yield
        except StoreUnavailable as error:
            if not isinstance(error, StoreBusy):
                raise
            logger.warning("%s: the database is busy, recovery is tried again: %s", what, error)
        except Exception as error:  # noqa: BLE001 - an unknown error must not stop the others either
            logger.error("%s: not recovered, which is tried again: %s", what, error)

    # --- the steps -------------------------------------------------------------------------------------------------

    def claim(self, intention: Intention, now: datetime) -> Rollback:
        """Step 1: record the rollback that is about to be carried out. Changes nothing else."""
        actuator = self._registry.remote.of(intention.tool_name)
        return self._store.rollbacks.claim(
            intention,
            event_if_held=partial(held_event, now=now),
            now=now,
            **({} if actuator is None else {"actuator": actuator.kind}),
        )

    def carry_out(self, claimed: Rollback, now: datetime) -> Rollback:
        """Investigate, and carry out steps 2 and 3 of a rollback that is claimed or restored, here or at a target.

        Raises:
            RollbackRefused: it is over or not due, another process carries it out, or the tool's actuator is another.
        """
        actuator = self._registry.remote.of(claimed.tool_name)
        kind = "folder" if actuator is None else actuator.kind
        if claimed.actuator != kind:
            raise RollbackRefused(
                f"{claimed.tool_name} is to be restored by a {claimed.actuator}, and here it has a {kind}; "
                f"that is set in [tools.{toml_key(claimed.tool_name)}.actuator]"
            )
        claimed = self._investigated(claimed, now)
        if actuator is None:
            return self._restore_and_finish(claimed, now)
        if claimed.state == "claimed":
            claimed = self._restore_remote(actuator, claimed, now)
        return self._finish_remote(claimed, now) if claimed.state == "restored" else claimed

    def _investigated(self, rollback: Rollback, now: datetime) -> Rollback:
        """Record which errors came with the deployment, once for each claim. It delays a rollback by 0.2 s at most."""
        if rollback.session_id is None or rollback.investigation is not None:
            return rollback
        try:
            session = self._store.sessions.get(rollback.session_id)
            until = now if rollback.rollback_type == "manual" else min(now, session.window_end)
            found = investigation_of(self._store, session, until)
            return self._store.rollbacks.investigated(rollback.rollback_id, found)
        except Exception as error:  # noqa: BLE001 - it stops no rollback, whatever it is
            logger.warning("%s: the investigation is not recorded: %s", rollback.tool_name, error)
            return rollback

    def _restore_and_finish(self, claimed: Rollback, now: datetime) -> Rollback:
        """Carry out both steps in the folder: one transaction swaps the file and records the rollback."""
        try:
            self._registry.settle_swaps(claimed.tool_name)
            finished = self._swapped(claimed, now)
        except ToolFileError as error:
            return self._fail(claimed, error, now)
        self._registry.made_live_here(claimed.tool_name)
        return finished

    def _swapped(self, claimed: Rollback, now: datetime, tries: int = 3) -> Rollback:
        try:
            with self._registry.swapping(claimed.tool_name) as put:
                return self._store.rollbacks.finish(
                    claimed.rollback_id, restore=put, event=partial(finished_event, now=now), now=now
                )
        except DeploymentConflict as error:  # the file was edited meanwhile: the next try stores the edit first
            if tries == 1:
                raise RollbackRefused(f"{error}; the next cycle carries rollback {claimed.rollback_id} out") from error
        return self._swapped(claimed, now, tries - 1)

    def _fail(self, claimed: Rollback, error: ToolFileError, now: datetime) -> Rollback:
        """Record the failure. The file is unchanged, and the next check that is due decides again."""
        return self._store.rollbacks.fail(
            claimed.rollback_id,
            str(error),
            # Retries of the same rollback do not notify again.
            event=failed_event(claimed, now, str(error)) if claimed.attempts == 1 else None,
            next_attempt_at=now + pause_after(claimed.attempts),
            now=now,
        )

    def _restore_remote(self, actuator: Actuator, claimed: Rollback, now: datetime) -> Rollback:
        """Step 2 at a target: no transaction is open while the actuator works."""
        remote, store = self._registry.remote, self._store
        claimed, sequence = store.rollbacks.attempt(
            claimed.rollback_id, holder=remote.holder, until=remote.until(actuator, now), now=now
        )
        try:
            output = carry_out(actuator, self._request(claimed, sequence))
            return store.rollbacks.restored(claimed.rollback_id, sequence=sequence, output=output, now=now)
        except ActuatorFailed as error:
            try:
                return self._postpone(claimed, sequence, error, now)
            finally:
                store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
        except BaseException:  # overtaken or interrupted: `recover` puts the live version in place again
            store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
            raise

    def _request(self, claimed: Rollback, sequence: int) -> Request:
        version = self._store.versions.get(claimed.tool_name, claimed.to_version or 0)
        claimed_at = claimed.claimed_at.isoformat() if claimed.claimed_at else ""
        # Every repetition of this claim has the same key, and no other claim has it.
        key = f"{claimed.tool_name}:rollback:{claimed.rollback_id}:{claimed_at}"
        return Request(version, "rollback", key, sequence)

    def _postpone(self, claimed: Rollback, sequence: int, error: ActuatorFailed, now: datetime) -> Rollback:
        """Keep the claim, and call the actuator again later: whether it restored the version is unknown."""
        return self._store.rollbacks.postpone(
            claimed.rollback_id,
            sequence=sequence,
            error=str(error),
            output=error.output,
            next_attempt_at=now + pause_after(claimed.attempts),
            event=failed_event(claimed, now, str(error)) if claimed.attempts == 1 else None,
            now=now,
        )

    def _finish_remote(self, restored: Rollback, now: datetime) -> Rollback:
        """Step 3 after the actuator restored the version."""
        return self._store.rollbacks.finish(
            restored.rollback_id, restore=None, event=partial(finished_event, now=now), now=now
        )


def _error_of(rollback: Rollback) -> RollguardError:
    problem = rollback.error or f"{rollback.tool_name} could not be rolled back"
    if rollback.open:
        return ActuatorFailed(
            f"{rollback.tool_name}: {problem}; it is tried again by rollguard watch, until it is acknowledged or "
            "another version is deployed",
            rollback.output,
        )
    return ToolFileError(problem)
