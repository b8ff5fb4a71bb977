"""Deploy and restore remote tools: an actuator makes a version live at the target."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from rollguard.errors import ActuatorFailed, DeploymentConflict, InvalidInput
from rollguard.model.log import logger_of
from rollguard.model.version import Deployment, Version
from rollguard.registry.deploy.actuators import Actuator, Request, SharedActuator, carry_out
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.store import ExecutionStore
from rollguard.store.rollbacks.actuator_leases import settling

logger = logger_of(__name__)

_ASK_AGAIN = 0.1  # seconds between two requests for a lease that another process holds
_FIRST_RETRY = timedelta(minutes=1)
_LAST_RETRY = timedelta(hours=1)


def pause_after(attempts: int) -> timedelta:
    """Return the pause after a number of failed attempts: a minute, doubled each time, up to an hour."""
    doublings = max(0, min(attempts - 1, 20))
    return min(_FIRST_RETRY * (1 << doublings), _LAST_RETRY)


class Remote:
    """The tools that have an actuator.

    Args:
        store: records versions and deployments.
        actuators: for a tool's name, the actuator that makes its versions live.
    """

    def __init__(self, store: ExecutionStore, actuators: Mapping[str, Actuator]) -> None:
        self._store = store
        self._actuators = dict(actuators)
        self.holder = uuid.uuid4().hex  # the holder of this process's leases

    def of(self, tool_name: str) -> Actuator | None:
        """Return the tool's actuator; None if the tool is in the folder."""
        return self._actuators.get(tool_name)

    def has(self, tool_name: str) -> bool:
        """Return whether the tool has an actuator."""
        return tool_name in self._actuators

    def label_of(self, version: Version) -> str:
        """Return the label of the version's newest release; empty without one."""
        labels = self._store.releases.labels(version.tool_name).get(version.version_number, ())
        return labels[-1] if labels else ""

    def shared(self, tool_name: str) -> SharedActuator | None:
        """Return the tool's actuator if it restores other tools with the same request."""
        actuator = self.of(tool_name)
        return actuator if isinstance(actuator, SharedActuator) else None

    def refuse_partial(self, names: Collection[str]) -> None:
        """Raise `InvalidInput` if some of the tools of a shared actuator are to go live without the others."""
        for name in names:
            actuator = self.shared(name)
            lacking = sorted(set(actuator.tools) - set(names)) if actuator is not None else []
            if actuator is not None and lacking:
                raise InvalidInput(
                    f"{name} shares the actuator {actuator.name} with {', '.join(lacking)}, so they go live together: "
                    "release all of them: guard.release(label, ...); to go back: rollguard rollback --release LABEL"
                )

    def request(self, versions: Sequence[Version], action: str, key: str, sequence: int, label: str = "") -> Request:
        """Return one request for the versions of a tool, or of all tools that share its actuator.

        Args:
            label: the release to name; by default the newest one that has one of the versions.
        """
        tools = tuple(version.tool_name for version in versions)
        return Request(versions[0], action, key, sequence, label or self._newest_label(versions), tools)

    def _newest_label(self, versions: Iterable[Version]) -> str:
        labels = [label for version in versions if (label := self.label_of(version))]
        if len(set(labels)) < 2:
            return labels[0] if labels else ""
        return max(labels, key=lambda label: self._store.releases.get(label).release_id)

    def _grouped(self, versions: Iterable[Version]) -> list[list[Version]]:
        groups: dict[int, list[Version]] = {}
        for number, version in enumerate(versions):
            actuator = self.shared(version.tool_name)
            groups.setdefault(-number if actuator is None else id(actuator), []).append(version)
        return list(groups.values())

    def until(self, actuator: Actuator, now: datetime) -> datetime:
        """Return when the lease of a request that begins now ends."""
        return now + timedelta(seconds=actuator.patience)

    def go_live(self, version: Version, request: DeploymentRequest) -> None:
        """Make a stored version live at the target, then record it as live. Same errors as `ToolRegistry.deploy`."""
        live = self._store.versions.live(version.tool_name)
        if live is not None and live.version_number == version.version_number:
            return
        if not request.force:
            self._store.quarantine.refuse(version)
        with self.deploying([version]) as sequences:
            self.record_live(version, request, sequences[version.tool_name])

    @contextlib.contextmanager
    def deploying(self, versions: Iterable[Version], label: str = "") -> Iterator[dict[str, int]]:
        """Make versions live at their targets, and yield the numbers of the requests, to record the versions as live.

        If anything fails, it is unknown what runs there now: the next cycle requests the live versions.

        Args:
            label: the release that the versions are about to belong to.

        Raises:
            ActuatorFailed: a target did not acknowledge.
            DeploymentConflict: another request to a target takes too long.
        """
        taken: dict[str, int] = {}
        try:
            for group in self._grouped(versions):
                first = group[0].tool_name
                actuator = self._actuators[first]
                for version in group:
                    taken[version.tool_name] = self._wait_for_the_lease(actuator, version.tool_name)
                sequence = taken[first]
                key = f"{first}:deploy:{sequence}"
                carry_out(actuator, self.request(group, "deploy", key, sequence, label))
            yield taken
        except BaseException:
            for name, sequence in taken.items():
                self._store.actuations.release(name, sequence=sequence, now=datetime.now(UTC))
            raise

    def record_live(self, version: Version, request: DeploymentRequest, sequence: int | None = None) -> Deployment:
        """Record that a version is live at the target.

        Args:
            sequence: the request of Rollguard that made it live, if any; refused if a later request was sent.
        """
        live = self._store.versions.live(version.tool_name)
        if request.replaces is not None:
            name = version.tool_name
            request.refuse_other(name, self._store.versions.get(name, live.version_number).sha256 if live else None)
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
            promotes=request.promotes,
        )

    def settle(self, now: datetime | None = None) -> list[str]:
        """Request the recorded live version again if it is unknown what runs at the target.

        Args:
            now: the present moment; None reads the clock for each tool, because a request may take long.

        Returns:
            The tools whose target acknowledged.
        """
        due = self._store.actuations.unsettled(now or datetime.now(UTC))
        answered: dict[SharedActuator, ActuatorFailed | None] = {}
        return [
            unsettled.tool_name
            for unsettled in due
            if self._settle(unsettled.tool_name, unsettled.attempts, now or datetime.now(UTC), answered)
        ]

    def _settle(
        self, tool_name: str, attempts: int, now: datetime, answered: dict[SharedActuator, ActuatorFailed | None]
    ) -> bool:
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
            key = f"{tool_name}:settle:{sequence}"
            try:
                self._ask_for(actuator, version, key, sequence, answered)
            except ActuatorFailed as error:
                logger.error("%s: version %d is not live again: %s", tool_name, version.version_number, error)
                at = now + pause_after(attempts + 1)
                self._store.actuations.postpone(tool_name, sequence=sequence, error=str(error), at=at, now=now)
                return False
        deployment_id = live.deployment_id if live else None
        return self._store.actuations.settle(tool_name, sequence=sequence, deployment_id=deployment_id, now=now)

    def _ask_for(
        self,
        actuator: Actuator,
        version: Version,
        key: str,
        sequence: int,
        answered: dict[SharedActuator, ActuatorFailed | None],
    ) -> None:
        """Request a live version; of tools that share an actuator, once for all of them."""
        if not isinstance(actuator, SharedActuator):
            carry_out(actuator, self.request([version], "settle", key, sequence))
            return
        if actuator not in answered:
            lives = self._store.versions.live_of_all()
            together = [self._store.versions.get(n, lives[n].version_number) for n in actuator.tools if n in lives]
            try:
                carry_out(actuator, self.request(together, "settle", key, sequence))
            except ActuatorFailed as error:
                answered[actuator] = error
            else:
                answered[actuator] = None
        failed = answered[actuator]
        if failed is not None:
            raise failed

    def _take(self, actuator: Actuator, tool_name: str, now: datetime) -> int | None:
        return self._store.actuations.take(tool_name, holder=self.holder, until=self.until(actuator, now), now=now)

    def _wait_for_the_lease(self, actuator: Actuator, tool_name: str) -> int:
        """Wait for a request under way, which lasts no longer than its lease, before a person's deployment."""
        deadline = time.monotonic() + actuator.patience
        while True:
            sequence = self._take(actuator, tool_name, datetime.now(UTC))
            if sequence is not None:
                return sequence
            if time.monotonic() >= deadline:
                raise DeploymentConflict(f"{tool_name}: another version of it is being put in its place; try again")
            time.sleep(_ASK_AGAIN)


def _nothing_in_the_folder(_version: Version) -> None:
    """Do nothing: the version is live at the target already."""
