"""Carrying a rollback out: claim, restore and finish. Safe to run anywhere, any number of times."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from rollguard.errors import (
    ActuatorFailed,
    DeploymentConflict,
    NoEarlierVersion,
    RollbackRefused,
    RollguardError,
    StoreBusy,
    StoreUnavailable,
    ToolFileError,
    UnknownTool,
)
from rollguard.model.rollback import Rollback
from rollguard.registry import ToolRegistry, pause_after
from rollguard.registry.deploy.actuators import Actuator, Order, carry_out
from rollguard.rollback.events import failed_event, finished_event, held_event
from rollguard.rollback.investigation import investigation_of
from rollguard.store import ExecutionStore, Intention

logger = logging.getLogger(__name__)


class RollbackRunner:
    """Restores the last good version of a tool.

    Args:
        store: where the journal is kept.
        registry: whose folder, or whose actuators, hold the tools.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store = store
        self._registry = registry

    def roll_back(self, intention: Intention, now: datetime) -> Rollback:
        """Claim the rollback and carry it out.

        Returns:
            The rollback: finished; failed, observed or capped with its `error`; or still claimed, where what restores
            it has not acknowledged and is asked again.

        Raises:
            RollbackRefused: somebody decided first, or the version is no longer live.
            StoreUnavailable: the database went away; what was claimed is carried out by `recover`.
        """
        decided = self.claim(intention, now)
        return self.carry_out(decided, now) if decided.state == "claimed" else decided

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
        """Roll a tool back because a person says so; a session that watches it is closed by it.

        Args:
            to_version: the version to restore; None takes the last good one.
            quarantine: quarantine the code that is taken away.

        Returns:
            The finished rollback.

        Raises:
            UnknownTool: the tool was never deployed.
            UnknownVersion: it has no such version.
            NoEarlierVersion: there is nothing to go back to; that is recorded.
            RollbackRefused: another rollback of it is under way, or the version is live already.
            CodeQuarantined: the version to restore is in quarantine.
            ToolFileError: the file could not be written; that is recorded.
            ActuatorFailed: the tool's actuator did not acknowledge; that is recorded, and it is asked again.
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
                investigation=investigation_of(self._store, session, now) if session else None,
                quarantine=quarantine,
            ),
            now,
        )
        if rollback.state != "finished":
            raise _why_not(rollback)
        return rollback

    def recover(self, now: datetime | None = None) -> list[Rollback]:
        """Carry out what was claimed by a process that is no more, or is at it this moment: it happens once.

        A file whose swap was cut short is put right. What is not known to run outside, since a call's end is not known,
        is asked for again. One that fails never stops the others; it is tried again by the next call.

        Args:
            now: the present moment; None reads the clock for each rollback, since a call outside may take its time.

        Returns:
            The rollbacks that this call brought to an end.

        Raises:
            StoreUnavailable: the database cannot be reached.
        """
        ended = []
        for claimed in self._store.rollbacks.open():
            with self._not_stopping_others(f"rollback {claimed.rollback_id} of {claimed.tool_name}"):
                done = self._recovered(claimed, now or datetime.now(UTC))
                if done is not None and not done.open:
                    ended.append(done)
        with self._not_stopping_others("swaps that were cut short"):
            self._registry.settle_swaps()
        with self._not_stopping_others("tools that live elsewhere"):
            self._registry.elsewhere.settle(now)
        return ended

    def _recovered(self, claimed: Rollback, now: datetime) -> Rollback | None:
        try:
            stale = self._store.rollbacks.overtake_if_stale(claimed.rollback_id, now)
            return stale or self.carry_out(claimed, now)
        except RollbackRefused as refusal:
            logger.info("nothing to recover: %s", refusal)
            return None

    @contextlib.contextmanager
    def _not_stopping_others(self, what: str) -> Iterator[None]:
        try:
            yield
        except StoreUnavailable as error:
            if not isinstance(error, StoreBusy):
                raise  # of all of them
            logger.warning("%s: put right later: %s", what, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other tools are looked after
            logger.error("%s: not put right, which is tried again: %s", what, error)

    # --- the steps -------------------------------------------------------------------------------------------------

    def claim(self, intention: Intention, now: datetime) -> Rollback:
        """Step 1: write down what is about to be done. Changes nothing else."""
        actuator = self._registry.elsewhere.of(intention.tool_name)
        return self._store.rollbacks.claim(
            intention,
            event_if_held=partial(held_event, now=now),
            now=now,
            **({} if actuator is None else {"actuator": actuator.kind}),
        )

    def carry_out(self, claimed: Rollback, now: datetime) -> Rollback:
        """Steps 2 and 3 of a rollback that is claimed or restored, wherever its tool lives.

        Raises:
            RollbackRefused: it is over, another process is at it, it is not due, or it is not ours to restore.
        """
        actuator = self._registry.elsewhere.of(claimed.tool_name)
        kind = "folder" if actuator is None else actuator.kind
        if claimed.actuator != kind:
            raise RollbackRefused(
                f"{claimed.tool_name} is to be restored by a {claimed.actuator}, and here it has a {kind}; "
                f"that is set in [tools.{claimed.tool_name}.actuator]"
            )
        if actuator is None:
            return self._restore_and_finish(claimed, now)
        if claimed.state == "claimed":
            claimed = self._restore_outside(actuator, claimed, now)
        return self._finish_outside(claimed, now) if claimed.state == "restored" else claimed

    def _restore_and_finish(self, claimed: Rollback, now: datetime) -> Rollback:
        """In the folder both are one: the file is swapped in the transaction that writes the books."""
        try:
            self._registry.settle_swaps(claimed.tool_name)
            finished = self._swapped(claimed, now)
        except ToolFileError as error:
            return self._fail(claimed, error, now)
        self._registry.made_live_here(claimed.tool_name)
        self._registry.refresh()
        return finished

    def _swapped(self, claimed: Rollback, now: datetime, tries: int = 3) -> Rollback:
        try:
            with self._registry.swapping(claimed.tool_name) as put:
                return self._store.rollbacks.finish(
                    claimed.rollback_id, restore=put, event=partial(finished_event, now=now), now=now
                )
        except DeploymentConflict as error:  # somebody is editing the file: what they wrote is kept first
            if tries == 1:
                raise RollbackRefused(f"{error}; the next cycle carries rollback {claimed.rollback_id} out") from error
        return self._swapped(claimed, now, tries - 1)

    def _fail(self, claimed: Rollback, error: ToolFileError, now: datetime) -> Rollback:
        """The file is as it was: the next check that is due decides again."""
        return self._store.rollbacks.fail(
            claimed.rollback_id,
            str(error),
            # Told once: the retries of the same rollback would only repeat it.
            event=failed_event(claimed, now, str(error)) if claimed.attempts == 1 else None,
            next_attempt_at=now + pause_after(claimed.attempts),
            now=now,
        )

    def _restore_outside(self, actuator: Actuator, claimed: Rollback, now: datetime) -> Rollback:
        """Step 2 where the tool lives elsewhere: no transaction is open while the actuator is at work."""
        outside, store = self._registry.elsewhere, self._store
        claimed, sequence = store.rollbacks.attempt(
            claimed.rollback_id, holder=outside.holder, until=outside.until(actuator, now), now=now
        )
        try:
            order = self._order(claimed, sequence)
            said = carry_out(actuator, order)
            return store.rollbacks.restored(claimed.rollback_id, sequence=sequence, output=said, now=now)
        except ActuatorFailed as error:
            try:
                return self._postpone(claimed, sequence, error, now)
            finally:
                store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
        except BaseException:  # overtaken, or interrupted: what runs there now is to be put right
            store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
            raise

    def _order(self, claimed: Rollback, sequence: int) -> Order:
        version = self._store.versions.get(claimed.tool_name, claimed.to_version or 0)
        claimed_at = claimed.claimed_at.isoformat() if claimed.claimed_at else ""
        # The same at every repetition of this claim, and never that of another.
        key = f"{claimed.tool_name}:rollback:{claimed.rollback_id}:{claimed_at}"
        return Order(version, "rollback", key, sequence)

    def _postpone(self, claimed: Rollback, sequence: int, error: ActuatorFailed, now: datetime) -> Rollback:
        """Nobody knows whether it happened, so the claim stands and the actuator is asked again."""
        return self._store.rollbacks.postpone(
            claimed.rollback_id,
            sequence=sequence,
            error=str(error),
            output=error.output,
            next_attempt_at=now + pause_after(claimed.attempts),
            event=failed_event(claimed, now, str(error)) if claimed.attempts == 1 else None,
            now=now,
        )

    def _finish_outside(self, restored: Rollback, now: datetime) -> Rollback:
        """Step 3 where the tool lives elsewhere."""
        return self._store.rollbacks.finish(
            restored.rollback_id, restore=None, event=partial(finished_event, now=now), now=now
        )


def _why_not(rollback: Rollback) -> RollguardError:
    """The error that tells a person why what was asked for has not happened."""
    said = rollback.error or f"{rollback.tool_name} could not be rolled back"
    if rollback.open:
        return ActuatorFailed(
            f"{rollback.tool_name}: {said}; it is tried again by rollguard watch, until it is acknowledged or "
            "another version is deployed",
            rollback.output,
        )
    return NoEarlierVersion(said) if rollback.to_version is None else ToolFileError(said)
