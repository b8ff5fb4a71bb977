"""Deploying and restoring tools outside the folder: an actuator puts a version in place at the target."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rollguard.errors import ActuatorFailed, DeploymentConflict
from rollguard.model.version import Deployment, Version
from rollguard.registry.deploy.actuators import Actuator, Order, carry_out
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.store import ExecutionStore
from rollguard.store.rollbacks.actuator_leases import settling

logger = logging.getLogger(__name__)

_ASK_AGAIN = 0.1  # seconds until a lease that another holds is asked for again
_FIRST_RETRY = timedelta(minutes=1)
_LAST_RETRY = timedelta(hours=1)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed: a minute, doubled each time, up to an hour."""
    doublings = max(0, min(attempts - 1, 20))
    return min(_FIRST_RETRY * (1 << doublings), _LAST_RETRY)


class Remote:
    """The tools that have an actuator.

    Args:
        store: where versions and deployments are recorded.
        actuators: for a tool's name, what puts its versions in their place.
    """

    def __init__(self, store: ExecutionStore, actuators: Mapping[str, Actuator]) -> None:
        self._store = store
        self._actuators = dict(actuators)
        self.holder = uuid.uuid4().hex  # whom the leases of this process's calls are written to

    def of(self, tool_name: str) -> Actuator | None:
        """The tool's actuator; None where it lives in the folder."""
        return self._actuators.get(tool_name)

    def until(self, actuator: Actuator, now: datetime) -> datetime:
        """Until when a call that begins now holds the lease."""
        return now + timedelta(seconds=actuator.patience)

    def go_live(self, actuator: Actuator, version: Version, request: DeploymentRequest) -> None:
        """Have a kept version run at the target, then record it as live. Raises as `ToolRegistry.deploy` does."""
        live = self._store.versions.live(version.tool_name)
        if live is not None and live.version_number == version.version_number:
            return
        if not request.force:
            self._store.quarantine.refuse(version)
        sequence = self._wait_for_the_lease(actuator, version.tool_name)
        order = Order(version, "deploy", f"{version.tool_name}:deploy:{sequence}", sequence)
        try:
            carry_out(actuator, order)
            self.record_live(version, request, sequence)
        except BaseException:  # what runs there now is not known: the next cycle asks for what is live
            self._store.actuations.release(version.tool_name, sequence=sequence, now=datetime.now(UTC))
            raise

    def record_live(self, version: Version, request: DeploymentRequest, sequence: int | None = None) -> Deployment:
        """Record that a version is live, by whatever means.

        Args:
            sequence: the call that made it so, if it was one of ours; refused where somebody else called since.
        """
        live = self._store.versions.live(version.tool_name)
        watch = request.watch.begin if request.watch else None
        return self._store.versions.go_live(
            version.tool_name,
            version.version_number,
            swap=_nothing_in_the_folder,
            deployed_by=request.by,
            reason=request.reason,
            deployed_at=request.moment,
            expected_live=live.deployment_id if live else None,
            force=request.force,
            begin=watch if sequence is None else settling(version, sequence, watch),
        )

    def settle(self, now: datetime | None = None) -> list[str]:
        """Request the recorded live version, until it is acknowledged, if nobody knows what runs at the target.

        Args:
            now: the present moment; None reads the clock for each tool, since a call may take its time.

        Returns:
            The tools of which it is known again.
        """
        due = self._store.actuations.unsettled(now or datetime.now(UTC))
        return [
            unsettled.tool_name
            for unsettled in due
            if self._settle(unsettled.tool_name, unsettled.attempts, now or datetime.now(UTC))
        ]

    def _settle(self, tool_name: str, attempts: int, now: datetime) -> bool:
        actuator = self.of(tool_name)
        if actuator is None:
            logger.error("%s has no actuator here, so nobody can find out which version runs at its target", tool_name)
            return False
        sequence = self._take(actuator, tool_name, now)
        if sequence is None:
            return False
        live = self._store.versions.live(tool_name)
        if live is not None:
            version = self._store.versions.get(tool_name, live.version_number)
            order = Order(version, "settle", f"{tool_name}:settle:{sequence}", sequence)
            try:
                carry_out(actuator, order)
            except ActuatorFailed as error:
                logger.error("%s: version %d is not live again: %s", tool_name, version.version_number, error)
                at = now + pause_after(attempts + 1)
                self._store.actuations.postpone(tool_name, sequence=sequence, error=str(error), at=at, now=now)
                return False
        deployment_id = live.deployment_id if live else None
        return self._store.actuations.settle(tool_name, sequence=sequence, deployment_id=deployment_id, now=now)

    def _take(self, actuator: Actuator, tool_name: str, now: datetime) -> int | None:
        return self._store.actuations.take(tool_name, holder=self.holder, until=self.until(actuator, now), now=now)

    def _wait_for_the_lease(self, actuator: Actuator, tool_name: str) -> int:
        """A person's deployment waits for a call under way, which lasts no longer than its lease."""
        deadline = time.monotonic() + actuator.patience
        while True:
            sequence = self._take(actuator, tool_name, datetime.now(UTC))
            if sequence is not None:
                return sequence
            if time.monotonic() >= deadline:
                raise DeploymentConflict(f"{tool_name}: another version of it is being put in its place; try again")
            time.sleep(_ASK_AGAIN)


def _nothing_in_the_folder(_version: Version) -> None:
    """The version is in its place already."""
