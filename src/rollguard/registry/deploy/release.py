"""Release several tools together: check all, store all, then make all of them live, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from rollguard.compat import Change
from rollguard.errors import InvalidInput
from rollguard.model.release import Release
from rollguard.model.version import Deployment, Version
from rollguard.registry.deploy.compat_check import changes_of, refuse_breaking, warn_of
from rollguard.registry.deploy.deployer import Code, Deployer
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.file_swap import FileSwap
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.deploy.replica import Replica
from rollguard.registry.folder.file_names import name_of
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.tree import code_at
from rollguard.store import Beginning, ExecutionStore, NewRelease, Part, digest
from rollguard.store.rollbacks.actuator_leases import settling
from rollguard.store.versions.releases import refuse_other

Watch = Callable[[str], Beginning]
"""Returns the session that begins when a tool of a release goes live."""


@dataclass(frozen=True, slots=True)
class Released:
    """The result of a release.

    Attributes:
        label, release_id: the release.
        state: `live`, or `rolled_back` if the label was released before and is rolled back.
        new: False if the label was released already, so that nothing was changed.
        versions: the version of each tool.
        changed: the tools that it made live, added ones too.
        added: the tools that had no live version before; a rollback withdraws them.
        sessions: the session that monitors each changed tool.
        changes: the changes that callers of each tool notice, breaking ones first.
        no_way_back: tools that no rollback can put back: functions of a program without `previous`.
        left_out: functions of this program that another process released the label without.
    """

    label: str
    release_id: int
    state: str
    new: bool
    versions: dict[str, int]
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    sessions: dict[str, int] = field(default_factory=dict)
    changes: dict[str, tuple[Change, ...]] = field(default_factory=dict)
    no_way_back: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class Releaser:
    """Makes releases live.

    Args:
        folder, store, file_swap, remote, replica: as `Deployer` has them.
        deployer: stores the versions.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        file_swap: FileSwap,
        remote: Remote,
        replica: Replica | None,
        deployer: Deployer,
    ) -> None:
        self._folder = folder
        self._store = store
        self._file_swap = file_swap
        self._remote = remote
        self._replica = replica
        self._deployer = deployer

    def release(
        self,
        new: NewRelease,
        codes: Sequence[Code],
        request: DeploymentRequest,
        *,
        strict: bool = False,
        watch: Watch | None = None,
        adopted: Collection[str] = (),
        replace_rollouts: bool = False,
    ) -> Released:
        """Make the code of several tools live under a label. Same errors as `ToolRegistry.release`.

        Args:
            adopted: tools whose live version is an edit in the folder that belongs to the release.
            replace_rollouts: end the rollouts of its tools.
        """
        if not codes:
            raise InvalidInput(f"{new.label}: a release needs at least one tool")
        self._remote.refuse_partial([code.tool_name for code in codes])
        for code in codes:  # all of them before anything is stored
            self._deployer.refuse_unloadable(code)
        found = {c.tool_name: changes_of(self._folder, self._store, c.tool_name, c.content) for c in codes}
        if strict:
            for name, changes in found.items():
                refuse_breaking(name, changes)
        already = self._store.releases.find(new.label)
        if already is not None:
            known = self._store.releases.tools(already.release_id)
            refuse_other(already, known, [self._known(code) for code in codes])
            return self.released(already, None, {})
        if not replace_rollouts:
            self._store.rollouts.refuse([code.tool_name for code in codes])  # again when they go live
        versions = [self._deployer.stored(code, request) for code in codes]
        released = self._go_live(new, versions, request, watch, frozenset(adopted), replace_rollouts)
        self._deployer.bring()
        for name in released.changed if released.new else ():
            warn_of(name, found[name])
        return replace(released, changes={name: found[name] for name in released.changed})

    def _known(self, code: Code) -> Version:
        """Return the version of code whose label was released already; code that is no version is another one."""
        sha256 = digest(code.content)
        known = self._store.versions.find(code.tool_name, sha256)
        return known or Version(code.tool_name, 0, b"", sha256, "", "", None, None, datetime.now(UTC))

    def _go_live(
        self,
        new: NewRelease,
        versions: Sequence[Version],
        request: DeploymentRequest,
        watch: Watch | None,
        adopted: frozenset[str],
        replace_rollouts: bool,
    ) -> Released:
        parts, sessions = self.parts(versions, watch, adopted)
        moving = [part.version for part in parts if part.goes_live]
        for version in moving if not request.force else ():
            self._store.quarantine.refuse(version)
        for part in parts:
            if not part.goes_live and not self._remote.has(part.version.tool_name):
                self._file_swap.go_live(part.version, request)  # its file may hold something else
        with contextlib.ExitStack() as stack:
            there = [version for version in moving if self._remote.has(version.tool_name)]
            here = [version for version in moving if not self._remote.has(version.tool_name)]
            sequences = stack.enter_context(self._remote.deploying(there, new.label))
            puts = {v.tool_name: stack.enter_context(self._file_swap.deploying(v)) for v in here}
            release, made = self._store.releases.go_live(
                new,
                [_settling(part, sequences) for part in parts],
                swap=lambda version: puts[version.tool_name](version) if version.tool_name in puts else None,
                force=request.force,
                at=request.moment,
                replace_rollouts=replace_rollouts,
            )
        if self._replica is not None and made is not None:
            for version in here:
                if version.tool_name in made:
                    self._replica.made_here(version.tool_name, made[version.tool_name].deployment_id)
        return self.released(release, made, sessions)

    def parts(
        self, versions: Sequence[Version], watch: Watch | None, adopted: frozenset[str] = frozenset()
    ) -> tuple[list[Part], dict[str, Beginning]]:
        """Return the parts of a release, and the sessions that begin with it."""
        sessions = {} if watch is None else {version.tool_name: watch(version.tool_name) for version in versions}
        parts = []
        for version in versions:
            beginning = sessions.get(version.tool_name)
            parts.append(
                Part(
                    version,
                    self._store.versions.live(version.tool_name),
                    adopts=version.tool_name in adopted,
                    begin=None if beginning is None else beginning.begin,
                )
            )
        return parts, sessions

    def released(
        self, release: Release, made: Mapping[str, Deployment] | None, sessions: Mapping[str, Beginning]
    ) -> Released:
        """Return the result of a release; `made` is None if the label was released before."""
        tools = self._store.releases.tools(release.release_id)
        changed = [tool for tool in tools if tool.changed]
        began = {name: one.session.session_id for name, one in sessions.items() if one.session is not None}
        for name in set(made or {}) - set(began):  # edits that were monitored already
            began.update((name, session.session_id) for session in self._store.sessions.active(name))
        return Released(
            label=release.label,
            release_id=release.release_id,
            state=release.state,
            new=made is not None,
            versions={tool.tool_name: tool.version_number for tool in tools},
            changed=tuple(tool.tool_name for tool in changed),
            added=tuple(tool.tool_name for tool in changed if tool.before_version is None and tool.way_back),
            sessions=began,
            no_way_back=tuple(tool.tool_name for tool in changed if not tool.way_back),
        )


def _settling(part: Part, sequences: Mapping[str, int]) -> Part:
    """Let the transaction of a remote tool's release settle the request that made its version live."""
    sequence = sequences.get(part.version.tool_name)
    if sequence is None:
        return part
    return replace(part, begin=settling(part.version, sequence, part.begin))


def code_of_files(files: Iterable[str | os.PathLike[str]]) -> dict[str, bytes]:
    """Return the code of files and packages by their names.

    Raises:
        InvalidInput: a file cannot be read, two are of one tool, or no tool's file is named so.
    """
    tools: dict[str, bytes] = {}
    for file in files:
        path = Path(file)
        name = name_of(path.resolve().name if path.is_dir() else path.stem)
        if name is None or (path.suffix != ".py" and not path.is_dir()):
            raise InvalidInput(f"{path} is not named like a tool's file; give the tools as a mapping of names to code")
        if name in tools:
            raise InvalidInput(f"{path} is the second file of {name}")
        tools[name] = code_at(path)
    return tools
