"""Let a version serve beside the live one, and make it live at the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rollguard.compat import changes, place_of
from rollguard.errors import BreakingChange, InvalidInput, RollguardError, ToolLoadError
from rollguard.judge.rules import checked_shares
from rollguard.model.log import logger_of
from rollguard.model.names import toml_key
from rollguard.model.ramp import State
from rollguard.model.rollout import CANARY, Rollout
from rollguard.model.split import Split
from rollguard.model.version import Version
from rollguard.registry.deploy.compat_check import changes_of
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.splits import Splits
from rollguard.store import ExecutionStore

if TYPE_CHECKING:
    from rollguard.registry.deploy.deployer import Code, Deployer

logger = logger_of(__name__)


def shares_of(rollout: Sequence[float] | None) -> tuple[float, ...]:
    """Return the shares of a rollout; none replace the version at once.

    Raises:
        InvalidInput: they are no rising shares.
    """
    try:
        return checked_shares(rollout or ())
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"rollout: {rollout!r} is not a list of rising shares above 0 and below 1, as [0.1, 0.25, 0.5]"
        ) from error


class RollingOut:
    """Begins, promotes and follows rollouts.

    Args:
        folder: the folder of tools.
        store: records versions and rollouts.
        deployer: stores code, and makes a version live.
        remote: the tools with an actuator.
        splits: what the machine knows of the rollouts.
    """

    def __init__(
        self, folder: Folder, store: ExecutionStore, deployer: Deployer, remote: Remote, splits: Splits
    ) -> None:
        self._folder, self._store, self._deployer, self._remote = folder, store, deployer, remote
        self._splits = splits

    def begin(self, code: Code, request: DeploymentRequest, shares: Sequence[float]) -> Version:
        """Let code serve beside the live version, at the first share. Same errors as `ToolRegistry.deploy`.

        The first version of a tool goes live at once: there is none to serve beside. So does nothing if it is live.
        """
        name = code.tool_name
        self._refuse_unrouted(name)
        self._remote.refuse_partial([name])
        if not self._remote.has(name):
            self._deployer.refuse_several(name, code.content)
        self._deployer.refuse_unloadable(code)
        self._deployer.refuse_other(name, request)
        live = self._store.versions.live(name)
        if live is None or self._store.versions.get(name, live.version_number).code == code.content:
            return self._deployer.deploy(code, request, strict=False)
        if request.watch is None:
            raise InvalidInput(f"rollout: {name} has to be monitored meanwhile; give watch=monitor.watch({name!r})")
        self._refuse_breaking(code)
        version = self._deployer.stored(code, request)
        live = self._store.versions.live(name)
        request.refuse_other(name, self._store.versions.get(name, live.version_number).sha256 if live else None)
        self._store.rollouts.begin(
            name,
            version.version_number,
            shares=shares,
            expected_live=live.deployment_id if live else None,
            watch=request.watch,
            started_by=request.by,
            reason=request.reason,
            started_at=request.moment,
            force=request.force,
        )
        self.bring()
        return version

    def promote(self, rollout: Rollout, *, by: str, why: str, at: datetime) -> None:
        """Make the new version live, and end the rollout, in one transaction. Its session goes on.

        Raises:
            DeploymentConflict: somebody else changed the rollout, or what is live.
            ActuatorFailed, ToolFileError, StoreUnavailable: as for `ToolRegistry.deploy`; the rollout goes on.
        """
        version = self._store.versions.get(rollout.tool_name, rollout.new_version)
        try:
            self._deployer.go_live(version, DeploymentRequest(by, why, at, promotes=rollout))
        finally:
            self.bring()

    def bring(self) -> None:
        """Let the processes of this machine draw by what the database says now. Raise nothing."""
        self._splits.bring_quietly()

    def present(self) -> dict[str, Split]:
        """Return by what processes of this machine draw, by tool."""
        return self._splits.present()

    def unloadable(self, tool_name: str, split: Split, error: ToolLoadError) -> None:
        """End a rollout of which a version cannot be loaded. Raise nothing."""
        logger.error("%s: a version cannot be loaded, so its rollout ends: %s", tool_name, error)
        now = datetime.now(UTC)
        try:
            known = self._store.rollouts.open_of(tool_name)
            if known is not None and known.rollout_id == split.rollout_id:
                number = split.new if known.kind == CANARY else split.old
                ramp, why = known.ramp.ended_by(State.FAILED, now), f"version {number} cannot be loaded: {error}"
                self._store.rollouts.move(known, ramp, by="rollguard", now=now, why=why)
        except RollguardError as again:
            logger.error("%s: its rollout is not ended yet: %s", tool_name, again)
        self.bring()

    def cannot_share(self, name: str, old: int, new: int) -> str | None:
        """Return why the version before cannot serve beside the live one, or None if it can.

        Args:
            old, new: the version before, and the live one. Either must serve the callers of the other.
        """
        if name not in self._splits.routers and (self._remote.has(name) or self._folder.read(name) is None):
            return "it does not run from the registry's folder, and nothing that draws its calls is known"
        before, now = (self._store.versions.get(name, number).code for number in (old, new))
        if self._remote.shared(name) or any(place_of(code, name).several for code in (before, now)):
            return "it goes live together with other tools, by one file, package or actuator"
        found = [*changes(before, now, name), *changes(now, before, name)]
        breaking = [change.sentence for change in found if change.breaking]
        return f"callers of one of both versions would break: {'; '.join(breaking)}" if breaking else None

    def _refuse_unrouted(self, name: str) -> None:
        if self._remote.has(name) and name not in self._splits.routers:
            raise InvalidInput(
                f"rollout: {name} runs at the target of [tools.{toml_key(name)}.actuator], which draws no calls; give "
                f"ToolRegistry(routers={{{name!r}: ...}}), or deploy it without a rollout"
            )

    def _refuse_breaking(self, code: Code) -> None:
        found = changes_of(self._folder, self._store, code.tool_name, code.content)
        breaking = [change.sentence for change in found if change.breaking]
        if breaking:
            raise BreakingChange(
                f"{code.tool_name} cannot serve beside the live version, because callers of that one would break: "
                f"{'; '.join(breaking)}. Keep what callers use, or replace the live version at once: deploy it with "
                "rollout=[], which is: rollguard deploy --canary off"
            )
