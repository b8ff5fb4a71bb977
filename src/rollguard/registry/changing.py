"""What changes the live versions of a `ToolRegistry`: deployments, releases and restored versions."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from rollguard.compat import Change
from rollguard.errors import InvalidInput
from rollguard.model.given import checked_mapping
from rollguard.model.release import checked_label
from rollguard.model.version import Version
from rollguard.registry.deploy.compat_check import changes_of, live_code
from rollguard.registry.deploy.deployer import Code, Deployer, bytes_of, codes_of
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.release import Released, Releaser, Watch
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.deploy.rolling import RollingOut, shares_of
from rollguard.registry.deploy.sync import SYNC, Synced, already_released, plan_of
from rollguard.registry.folder.file_names import checked_file_name
from rollguard.registry.folder.folder import Folder
from rollguard.store import Beginning, ExecutionStore, NewRelease


class Changing:
    """Deployments, releases and restored versions of a `ToolRegistry`."""

    store: ExecutionStore
    folder: Folder
    remote: Remote
    _deployer: Deployer
    _releaser: Releaser
    rolling: RollingOut

    def deploy(
        self,
        tool_name: str,
        code: str | bytes | os.PathLike[str],
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: Beginning | None = None,
        rollout: Sequence[float] | None = None,
        replaces: str | None = None,
    ) -> int:
        """Store `code` as a version of the tool and make it live. Breaking changes are logged as warnings.

        Code that cannot be loaded is refused and changes nothing. Code that is live already stays live: it is not
        deployed again, and its session continues. A session of the version before becomes `superseded`. An actuator
        deploys its own tool, whose code may be anything that the actuator understands.

        Args:
            tool_name: at most 128 letters, digits, '_', '-', '.' and '/'.
            code: the file's whole content, or the path of a file or of a package's folder.
            created_by: who wrote it.
            reason: why.
            kind: initial, bugfix, enhancement, improvement or rollback; by default initial for the first, else
                improvement.
            deployed_at: when it went live; now by default.
            force: True deploys code although it was rolled back, and lifts its quarantine.
            strict: True refuses code that breaks callers; see `changes`.
            watch: starts monitoring in the transaction that makes the version live; see `DeploymentMonitor.watch`.
            rollout: rising shares, such as `[0.1, 0.25, 0.5]`: the version first serves beside the live one, which gets
                the other calls, and goes live after the last share. This needs `watch`. See docs/rollouts.md.
            replaces: the hash of the only code that it may replace; None is any.

        Returns:
            The version's number.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid.
            CodeQuarantined: the code was rolled back, and `force` is False.
            ActuatorFailed: the tool's actuator did not acknowledge; the next cycle restores the live version.
            ToolLoadError: the code is not a tool that can be loaded.
            BreakingChange: the code breaks callers, and `strict` is True or there is a `rollout`; nothing was changed.
            ToolFileError: the file cannot be written; the version is stored, but not live.
            DeploymentConflict: another deployment at the same moment came first, or other code is live than `replaces`.
            StoreUnavailable: the database cannot be reached or written; nothing was changed.
        """
        request = DeploymentRequest(created_by, reason, deployed_at, force, watch, replaces=replaces)
        shares = shares_of(rollout)
        if shares:
            return self.rolling.begin(Code.of(tool_name, code, kind), request, shares).version_number
        return self._deployer.deploy(Code.of(tool_name, code, kind), request, strict=strict).version_number

    def release(
        self,
        label: str,
        tools: Mapping[str, str | bytes | os.PathLike[str]],
        *,
        metadata: Mapping[str, Any] | None = None,
        created_by: str = "human",
        reason: str | None = None,
        released_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: Watch | None = None,
        adopted: Collection[str] = (),
        replace: bool = False,
    ) -> Released:
        """Make the code of several tools live together, all or none. A regression of one rolls all of them back.

        A label is released once: if it was released already with the same code, nothing is changed. Code that is live
        already belongs to the release, and stays live.

        Args:
            label: names the release, such as a git revision, a tag or an image.
            tools: the code of each tool, or the path of its file or package. All tools of a file or a package go live
                with it, whichever of their names or its own is given.
            metadata: the caller's own values, of JSON.
            released_at: when they went live; now by default.
            force, strict: as for `deploy`.
            watch: starts monitoring a tool in the transaction that makes it live; see `DeploymentMonitor.watch`.
            adopted: tools whose live version is an edit in the folder that belongs to the release.
            replace: True ends the rollouts of its tools.

        Raises:
            ReleaseConflict: the label was released with other tools or code, or a tool is under rollout.
            ActuatorFailed: a target did not acknowledge; nothing was released, and each target is asked for its live
                version again.
            InvalidInput, InvalidToolName, CodeQuarantined, ToolLoadError, BreakingChange, ToolFileError,
            DeploymentConflict, StoreUnavailable: as for `deploy`, of one tool; nothing was released.
        """
        new = NewRelease(label, created_by, reason, checked_mapping("metadata", metadata))
        request = DeploymentRequest(created_by, reason, released_at, force)
        given = checked_mapping("tools", tools).items()
        codes = {
            code.tool_name: code
            for name, content in given
            for code in ([Code.of(name, content)] if self.remote.has(name) else codes_of(name, content))
        }
        return self._releaser.release(
            new, list(codes.values()), request, strict=strict, watch=watch, adopted=adopted, replace_rollouts=replace
        )

    def sync(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        ref: str | None = None,
        wins: Literal["folder", "live"] | None = None,
        dry_run: bool = False,
        reason: str | None = None,
        created_by: str = "human",
        strict: bool = False,
        watch: Watch | None = None,
    ) -> Synced:
        """Release what changed in a folder since its last sync, as one release; see `Rollguard.sync`."""
        path = Path(folder if folder is not None else self.folder.path)
        if wins not in (None, "folder", "live"):
            raise InvalidInput(f'wins: {wins!r} is not one of "folder", "live"')
        plan = plan_of(path, self.folder, self.store, self.remote, ref)
        known = self.store.releases.find(checked_label(plan.label))
        if dry_run:
            return Synced(plan)
        kept: tuple[str, ...] = ()
        if wins == "folder":
            plan = plan.with_conflicts_changed()
        elif wins == "live":
            plan, kept = plan.without_conflicts()
        else:
            plan.refuse_conflicts()
        for name in kept if path.resolve() == self.folder.path.resolve() else ():
            self._put_live_back(name, created_by)
        if known is not None:
            already_released(plan, known, self.store)
            return Synced(plan, self._releaser.released(known, None, {}), kept)
        if not plan.releases:
            return Synced(plan, None, kept)
        released = self.release(
            plan.label,
            plan.tools,
            metadata={SYNC: str(path)},
            reason=reason,
            created_by=created_by,
            strict=strict,
            watch=watch,
            adopted=plan.edits,
            replace=wins == "folder",
        )
        return Synced(plan, released, kept)

    def _put_live_back(self, tool_name: str, by: str) -> None:
        live = self.store.versions.live(tool_name)
        if live is not None:
            self.restore(tool_name, live.version_number, restored_by=by)

    def keep(
        self,
        tool_name: str,
        code: str | bytes | os.PathLike[str],
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        parent_version: int | None = None,
    ) -> Version:
        """Store `code` as a version of the tool without making it live, and return the version.

        It is based on `parent_version`, by default the live one. Code that is stored already is returned unchanged.

        Raises:
            InvalidToolName, InvalidInput, ToolLoadError, StoreUnavailable: as for `deploy`.
            UnknownVersion: there is no such parent.
        """
        return self._deployer.keep(
            Code.of(tool_name, code, kind, parent_version), DeploymentRequest(created_by, reason)
        )

    def changes(self, tool_name: str, code: str | bytes | os.PathLike[str]) -> tuple[Change, ...]:
        """Return what callers notice if `code` replaces the tool's file, breaking changes first. It runs nothing."""
        return changes_of(self.folder, self.store, checked_file_name(tool_name), bytes_of(code))

    def live_code(self, tool_name: str) -> bytes | None:
        """Return the code of a tool that is served now, edited by hand or not; None if there is none."""
        return live_code(self.folder, self.store, checked_file_name(tool_name))

    def note_deployment(
        self,
        tool_name: str,
        code: str | bytes | os.PathLike[str],
        *,
        created_by: str = "human",
        reason: str | None = None,
        kind: str | None = None,
        deployed_at: datetime | None = None,
        force: bool = False,
        strict: bool = False,
        watch: Beginning | None = None,
    ) -> int:
        """Record code that something else deployed to the target as the tool's live version, to monitor it.

        Only the database changes. If a later version regresses, the tool's actuator rolls back to this one.
        The parameters and the result are those of `deploy`.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid, or the tool is in the folder.
            BreakingChange, CodeQuarantined, DeploymentConflict, StoreUnavailable: as for `deploy`.
        """
        request = DeploymentRequest(created_by, reason, deployed_at, force, watch)
        return self._deployer.note(Code.of(tool_name, code, kind), request, strict=strict).version_number

    def restore(
        self,
        tool_name: str,
        version_number: int | str,
        *,
        restored_by: str = "human",
        reason: str | None = None,
        force: bool = False,
    ) -> None:
        """Make a stored version live again, in its file and in the database; `version_number` may be a label.

        Raises:
            InvalidToolName, InvalidInput: a value is invalid.
            UnknownVersion: there is no version of that number.
            CodeQuarantined, ActuatorFailed, ToolFileError, DeploymentConflict, StoreUnavailable: as for `deploy`.
        """
        request = DeploymentRequest(restored_by, reason, force=force)
        self._deployer.go_live(self.store.versions.get(checked_file_name(tool_name), version_number), request)
