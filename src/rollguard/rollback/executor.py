"""Carry out a rollback: claim, restore and finish. Safe to run in any process, any number of times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
from rollguard.model.names import may_share_a_file, toml_key
from rollguard.model.rollback import Rollback
from rollguard.model.version import Version
from rollguard.registry import ToolRegistry, pause_after
from rollguard.registry.deploy.actuators import Actuator, Request, SharedActuator, carry_out
from rollguard.rollback.events import failed_event, finished_event, held_event
from rollguard.rollback.investigation import investigation_of
from rollguard.rollback.tracing import traced
from rollguard.store import PROGRAM, ExecutionStore, Intention

logger = logger_of(__name__)

_NEAR = ("folder", PROGRAM)
_STILL_INVESTIGATED = timedelta(hours=1)  # of what finished since, if the process that did it ended before it looked


class RollbackRunner:
    """Restores the last good version of a tool.

    Args:
        store: the store of the rollbacks.
        registry: the registry whose folder or actuators put the version in place.
    """

    def __init__(self, store: ExecutionStore, registry: ToolRegistry) -> None:
        self._store = store
        self._registry = registry

    @traced("rollback")
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
        if claimed.rollout_id is not None:
            self._registry.rolling.bring()
        if claimed.state != "claimed":
            return self._investigated(claimed, now)
        done = self.carry_out(claimed, now)
        others = [one for one in self._store.rollbacks.open(claimed.release_id) if one != done]
        if claimed.release_id is None:  # those of other tools in the same file
            others = [one for one in others if may_share_a_file(one.tool_name, claimed.tool_name)]
        return self._carry_out_all(others, now, done)[0]

    def roll_back_by_hand(
        self,
        tool_name: str,
        *,
        to_version: int | str | None,
        reason: str,
        requested_by: str,
        now: datetime,
        quarantine: bool = False,
    ) -> Rollback:
        """Roll a tool back on a person's request. This closes the session that monitors it.

        Args:
            to_version: the version to restore, by its number or a label; None restores the last good one.
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
        self._registry.remote.refuse_partial([tool_name])
        live = self._store.versions.live(tool_name)
        if live is None:
            raise UnknownTool(f"{tool_name} was never deployed, so there is nothing to roll back")
        if isinstance(to_version, str):
            to_version = self._store.versions.get(tool_name, to_version).version_number
        session = next(iter(self._store.sessions.active(tool_name)), None)
        intention = Intention(
            tool_name=tool_name,
            session_id=session.session_id if session else None,
            from_version=live.version_number,
            to_version=to_version,
            reason=reason,
            rollback_type="manual",
            requested_by=requested_by,
            quarantine=quarantine,
        )
        rollback = self.roll_back(self.of_rollout(intention), now)
        if rollback.state != "finished":
            raise _error_of(rollback)
        return rollback

    def of_rollout(self, by_hand: Intention) -> Intention:
        """Return a rollback by hand of a tool under rollout as that of the new version, unless it names a third one."""
        rollout = self._store.rollouts.open_of(by_hand.tool_name)
        if rollout is None or by_hand.to_version not in (None, rollout.old_version):
            return by_hand
        return replace(
            by_hand,
            session_id=rollout.session_id,
            from_version=rollout.new_version,
            to_version=rollout.old_version,
            rollout_id=rollout.rollout_id,
        )

    def roll_back_release(
        self, label: str, *, reason: str, requested_by: str, now: datetime, quarantine: bool = False
    ) -> tuple[list[Rollback], list[str]]:
        """Roll all tools of a release back on a person's request.

        Returns:
            The rollbacks, as far as they are carried out now, and sentences on the tools that stay as they are. What
            an actuator or the disk held up is tried again.

        Raises:
            UnknownVersion: there is no release with this label.
            NoEarlierVersion: no tool can be rolled back; nothing is recorded.
        """
        release = self._store.releases.get(label)
        cause = Intention("", None, None, None, reason, "manual", requested_by, quarantine=quarantine)
        cause = replace(cause, release_id=release.release_id)
        claimed, left = self._store.rollbacks.claim_release(cause, actuator_of=self._actuator_of, now=now)
        self._carry_out_all(claimed, now)
        return [self._store.rollbacks.get(one.rollback_id) for one in claimed], left

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
        moment = now or datetime.now(UTC)
        ended = [one for one in self._carry_out_all(self._store.rollbacks.open(), now) if not one.open]
        for left in self._store.rollbacks.uninvestigated(moment - _STILL_INVESTIGATED):
            self._investigated(left, left.finished_at or moment)
        with self._isolated("calls that ended their process"):
            self._registry.collect_ended_calls()
        with self._isolated("interrupted swaps"):
            self._registry.settle_swaps()
        self._registry.rolling.bring()
        with self._isolated("remote tools"):
            self._registry.remote.settle(now)
        return ended

    def _carry_out_all(self, claimed: Sequence[Rollback], now: datetime | None, *done: Rollback) -> list[Rollback]:
        """Carry out rollbacks that are claimed, each on its own, and investigate them after those that are `done`.

        Those in the folder come first: a call to a target may take long, and people wait for what was found.
        """
        near = [one for one in claimed if one.actuator in _NEAR]
        found, waiting = list[Rollback](), list(done)
        for group in (near, *([one] for one in claimed if one.actuator not in _NEAR)):
            for one in group:
                with self._isolated(f"rollback {one.rollback_id} of {one.tool_name}"):
                    waiting += filter(None, [self._recovered(one, now or datetime.now(UTC))])
            found += [self._investigated(one, one.finished_at or now or datetime.now(UTC)) for one in waiting]
            waiting = []
        return found

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

    @traced("rollback.claim")
    def claim(self, intention: Intention, now: datetime) -> Rollback:
        """Step 1: record the rollback that is about to be carried out. Changes nothing else."""
        return self._store.rollbacks.claim(
            intention, event_if_held=partial(held_event, now=now), now=now, actuator_of=self._actuator_of
        )

    def _actuator_of(self, tool_name: str) -> str:
        actuator = self._registry.remote.of(tool_name)
        return "folder" if actuator is None else actuator.kind

    @traced("rollback.act")
    def carry_out(self, claimed: Rollback, now: datetime) -> Rollback:
        """Carry out steps 2 and 3 of a rollback that is claimed or restored, here or at a target.

        Raises:
            RollbackRefused: it is over or not due, another process carries it out, or the tool's actuator is another.
        """
        actuator = self._registry.remote.of(claimed.tool_name)
        kind = self._actuator_of(claimed.tool_name)
        if claimed.actuator == PROGRAM or self._served_all_along(claimed):
            return self._finished(claimed, _nothing, now)
        if claimed.actuator != kind:
            raise RollbackRefused(
                f"{claimed.tool_name} is to be restored by a {claimed.actuator}, and here it has a {kind}; "
                f"that is set in [tools.{toml_key(claimed.tool_name)}.actuator]"
            )
        if actuator is None:
            return self._restore_and_finish(claimed, now)
        if claimed.state == "claimed":
            claimed = self._restore_remote(actuator, claimed, now)
        return self._finish_remote(claimed, now) if claimed.state == "restored" else claimed

    def _served_all_along(self, claimed: Rollback) -> bool:
        """Return whether the version to restore is live, because the other one only served beside it."""
        if claimed.rollout_id is None:
            return False
        return self._store.rollouts.get(claimed.rollout_id).kind == "canary"

    def _investigated(self, rollback: Rollback, now: datetime) -> Rollback:
        """Record which errors came with the deployment, once for each rollback, in 0.2 s at most."""
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
            if self._edited_since(claimed):
                left = "its file was edited since, so it stays as it is"
                return self._store.rollbacks.overtake_if_stale(claimed.rollback_id, now, left) or claimed
            self._registry.settle_swaps(claimed.tool_name)
            finished = self._swapped(claimed, now)
        except ToolFileError as error:
            return self._fail(claimed, error, now)
        self._registry.made_live_here(claimed.tool_name)
        return finished

    def _swapped(self, claimed: Rollback, now: datetime, tries: int = 3) -> Rollback:
        try:
            with self._registry.swapping(claimed.tool_name) as put:
                return self._finished(claimed, put, now)
        except DeploymentConflict as error:  # the file was edited meanwhile: the next try stores the edit first
            if tries == 1:
                raise RollbackRefused(f"{error}; the next cycle carries rollback {claimed.rollback_id} out") from error
        return self._swapped(claimed, now, tries - 1)

    def _fail(self, claimed: Rollback, error: ToolFileError, now: datetime) -> Rollback:
        """Record the failure. The file is unchanged, and the next check that is due decides again.

        A release's rollback stays claimed, because it happens as one.
        """
        if claimed.release_id is not None:
            return self._postpone(claimed, None, ActuatorFailed(str(error)), now)
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
            output = self._ask(actuator, claimed, sequence)
            return store.rollbacks.restored(claimed.rollback_id, sequence=sequence, output=output, now=now)
        except ActuatorFailed as error:
            try:
                return self._postpone(claimed, sequence, error, now)
            finally:
                store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
        except BaseException:  # overtaken or interrupted: `recover` puts the live version in place again
            store.actuations.release(claimed.tool_name, sequence=sequence, now=now)
            raise

    def _ask(self, actuator: Actuator, claimed: Rollback, sequence: int) -> str | None:
        """Send the request; of tools that share an actuator and go back together, only the first one sends it."""
        together = [claimed]
        if isinstance(actuator, SharedActuator) and claimed.release_id is not None:
            found = self._store.rollbacks.of_release(claimed.release_id)
            together = [one for one in found if self._registry.remote.of(one.tool_name) is actuator]
            done = next((one for one in together if one.state in ("restored", "finished")), None)
            if done is not None:
                return done.output
        return carry_out(actuator, self._request(together, sequence))

    def _request(self, together: Sequence[Rollback], sequence: int) -> Request:
        restored = [one for one in together if not one.withdraws]
        action = "rollback" if restored else "withdraw"
        versions = [
            self._store.versions.get(one.tool_name, (one.to_version if restored else one.from_version) or 0)
            for one in restored or together
        ]
        first = min(together, key=lambda one: one.rollback_id)
        claimed_at = first.claimed_at.isoformat() if first.claimed_at else ""
        # Every repetition of this claim has the same key, and no other claim has it.
        key = f"{first.tool_name}:rollback:{first.rollback_id}:{claimed_at}"
        return self._registry.remote.request(versions, action, key, sequence)

    def _postpone(self, claimed: Rollback, sequence: int | None, error: ActuatorFailed, now: datetime) -> Rollback:
        """Keep the claim, and call the actuator again later: whether it restored the version is unknown."""
        return self._store.rollbacks.postpone(
            claimed.rollback_id,
            sequence=sequence,
            error=str(error),
            output=error.output,
            next_attempt_at=now + pause_after(claimed.attempts),
            event=failed_event(claimed, now, str(error)) if claimed.error is None else None,
            now=now,
        )

    def _finish_remote(self, restored: Rollback, now: datetime) -> Rollback:
        """Step 3 after the actuator restored the version."""
        return self._finished(restored, None, now)

    @traced("rollback.confirm")
    def _finished(self, going: Rollback, restore: Callable[[Version | None], None] | None, now: datetime) -> Rollback:
        event = partial(finished_event, now=now)
        return self._store.rollbacks.finish(going.rollback_id, restore=restore, event=event, now=now)

    def _edited_since(self, claimed: Rollback) -> bool:
        """Return whether a person edited the file of a tool that goes back for its release's sake."""
        if claimed.release_id is None or (claimed.session_id is not None and claimed.rollback_type != "manual"):
            return False
        present = self._registry.folder.read(claimed.tool_name)
        numbers = (claimed.from_version, claimed.to_version)
        known = {self._store.versions.get(claimed.tool_name, number).code for number in numbers if number}
        return present is not None and present not in known


def _nothing(_version: Version | None) -> None:
    """Do nothing: each process of the program runs what the live pointer names."""


def _error_of(rollback: Rollback) -> RollguardError:
    problem = rollback.error or f"{rollback.tool_name} could not be rolled back"
    if rollback.open:
        return ActuatorFailed(
            f"{rollback.tool_name}: {problem}; it is tried again by rollguard watch, until it is acknowledged or "
            "another version is deployed",
            rollback.output,
        )
    return ToolFileError(problem)
