"""Deploy a version: check it, store it, put it in place, and record it as live."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rollguard.compat import tools_in
from rollguard.errors import InvalidInput, RollguardError, StoreBusy, StoreError, StoreUnavailable, ToolFileError
from rollguard.model.log import logger_of
from rollguard.model.names import toml_key
from rollguard.model.ramp import State
from rollguard.model.version import Version
from rollguard.registry.deploy.compat_check import changes_of, refuse_breaking, warn_of
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.file_swap import FileSwap
from rollguard.registry.deploy.hand_edits import adopt, adopt_all, keep_hand_edit
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.deploy.replica import Replica
from rollguard.registry.folder.file_names import checked_file_name
from rollguard.registry.folder.folder import Folder, unit_in
from rollguard.registry.folder.tree import code_at
from rollguard.registry.serve.admission import Admission
from rollguard.store import ExecutionStore, digest

logger = logger_of(__name__)


@dataclass(frozen=True, slots=True)
class Code:
    """Code to store as a version.

    Attributes:
        tool_name: the tool of the code.
        content: the file's bytes.
        kind: the kind of the version; None is initial for a tool's first version, else improvement.
        parent_version: the version it is based on; None is the live one.
    """

    tool_name: str
    content: bytes
    kind: str | None = None
    parent_version: int | None = None

    @classmethod
    def of(cls, tool_name: str, code: object, kind: str | None = None, parent_version: int | None = None) -> Code:
        """Return the `Code` of text or bytes.

        Raises:
            InvalidToolName: no file can have the name.
            InvalidInput: the code is neither text nor bytes.
        """
        return cls(checked_file_name(tool_name), bytes_of(code), kind, parent_version)


class Deployer:
    """Makes versions live: in the folder, or by an actuator at their target.

    Args:
        folder: the folder of tools.
        store: records versions and deployments.
        file_swap: puts versions into the folder.
        admission: knows which code is a tool that loads.
        remote: the tools with an actuator.
        replica: notified of each deployment in the folder, if the folder follows other machines.
        bring: lets the processes of this machine draw by what the database says.

    Attributes:
        bring: as given.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        file_swap: FileSwap,
        admission: Admission,
        remote: Remote,
        replica: Replica | None,
        bring: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._file_swap = file_swap
        self._admission = admission
        self._remote = remote
        self._replica = replica
        self.bring = bring

    def deploy(self, code: Code, request: DeploymentRequest, *, strict: bool) -> Version:
        """Store the code and make it live. Same errors as `ToolRegistry.deploy`."""
        self._remote.refuse_partial([code.tool_name])
        if not self._remote.has(code.tool_name):
            self.refuse_several(code.tool_name, code.content)
        self.refuse_unloadable(code)
        return self._deploy(code, request, strict, self.go_live)

    def note(self, code: Code, request: DeploymentRequest, *, strict: bool) -> Version:
        """Record code that something else made live at the target. Same errors as `ToolRegistry.note_deployment`."""
        name = code.tool_name
        self._remote.refuse_partial([name])
        if self._remote.of(name) is None:
            raise InvalidInput(
                f"{name} has no actuator, so it lives in the folder; "
                f"deploy it, or give it one in [tools.{toml_key(name)}.actuator]"
            )
        return self._deploy(code, request, strict, self._record_live)

    def keep(self, code: Code, request: DeploymentRequest) -> Version:
        """Store the code without making it live. Same errors as `ToolRegistry.keep`."""
        self.refuse_unloadable(code)
        return self.stored(code, request)

    def go_live(self, version: Version, request: DeploymentRequest) -> None:
        """Make a stored version live; a rollout under way ends. Same errors as `ToolRegistry.deploy`."""
        if self._remote.has(version.tool_name):
            self._remote.refuse_partial([version.tool_name])
            self._remote.go_live(version, request)
        else:
            self.refuse_several(version.tool_name, version.code)
            deployment_id = self._file_swap.go_live(version, request)
            if self._replica is not None:
                self._replica.made_here(version.tool_name, deployment_id)
        if request.promotes is None:
            self._end_rollout(version, request)

    def _end_rollout(self, version: Version, request: DeploymentRequest) -> None:
        """End the rollout of a tool whose live version was deployed again, and let nobody draw by one that ended."""
        known = self._store.rollouts.open_of(version.tool_name)
        if known is not None and known.kind == "canary" and known.old_version == version.version_number:
            why = f"{request.by} deployed version {version.version_number}, which was live"
            ramp = known.ramp.ended_by(State.SUPERSEDED, request.moment)
            self._store.rollouts.move(known, ramp, by=request.by, now=request.moment, why=why)
        self.bring()

    def made_live_here(self, tool_name: str) -> None:
        """See `ToolRegistry.made_live_here`."""
        if self._replica is None:
            return
        try:
            live = self._store.versions.live(tool_name)
        except StoreError as error:  # the version is live, even if this fails
            logger.info("%s: the version made live here is checked again: %s", tool_name, error)
            return
        if live is not None:
            self._replica.made_here(tool_name, live.deployment_id)

    def settle(self, tool_name: str | None = None) -> list[str]:
        """Settle interrupted swaps. See `ToolRegistry.settle_swaps`."""
        settled = []
        for name in self._file_swap.unsettled(tool_name):
            try:
                settled += self._file_swap.settle(name)
            except StoreUnavailable as error:
                if not isinstance(error, StoreBusy):
                    raise
                logger.warning("%s is not put right yet: %s", name, error)
            except RollguardError as error:  # one tool's error must not stop the others
                logger.error("%s is not put right yet: %s", name, error)
        return settled

    def adopt_all(self) -> None:
        """Settle interrupted swaps, then adopt files without a version; only log if the store is away."""
        try:
            self.settle()  # first: a file that a crash left during a deployment must not be adopted
            adopt_all(self._folder, self._admission.readings, self._store)
        except StoreUnavailable as error:  # the files are served without a version; the next refresh adopts them
            logger.warning("new files are not adopted yet: %s", error)

    def bring_back(self) -> None:
        """After the database was replaced, perhaps by an older backup: store what it does not know of the folder.

        The database says what is live. A file that holds something else stays until the next deployment or rollback.
        """
        why = "unknown to the database, which was replaced"
        try:
            if self._replica is not None:
                self._replica.follow_anew()
            live = self._store.versions.live_of_all()
            for name in self._folder.names():
                if name in live and keep_hand_edit(self._folder, self._store, name, why) and self._replica is not None:
                    self._replica.made_here(name, live[name].deployment_id)
            adopt_all(self._folder, self._admission.readings, self._store)
        except (StoreError, ToolFileError) as error:  # rollguard doctor names what is not there
            logger.error("versions that the database lost are not brought back: %s", error)
        finally:
            if self._replica is not None:
                self._replica.go_on()

    def _deploy(
        self,
        code: Code,
        request: DeploymentRequest,
        strict: bool,
        make_live: Callable[[Version, DeploymentRequest], object],
    ) -> Version:
        self.refuse_other(code.tool_name, request)
        found = changes_of(self._folder, self._store, code.tool_name, code.content)
        if strict:
            refuse_breaking(code.tool_name, found)
        version = self.stored(code, request)
        make_live(version, request)
        warn_of(code.tool_name, found)
        return version

    def refuse_other(self, tool_name: str, request: DeploymentRequest) -> None:
        """Refuse to deploy over other code than is to be replaced, before anything is stored or sent."""
        if request.replaces is None:
            return
        live = self._store.versions.live(tool_name)
        request.refuse_other(
            tool_name, None if live is None else self._store.versions.get(tool_name, live.version_number).sha256
        )
        if self._remote.of(tool_name) is None:
            held = self._folder.read(tool_name)
            request.refuse_other(tool_name, None if held is None else digest(held))

    def refuse_several(self, name: str, content: bytes) -> None:
        """Refuse to make one tool of a file or package live alone, unless it is live there already."""
        others = codes_of(name, content)
        if len(others) == 1:
            return
        live, known = self._store.versions.live(name), self._store.versions.find(name, digest(content))
        if live is None or known is None or live.version_number != known.version_number:
            names = ", ".join(code.tool_name for code in others)
            raise InvalidInput(
                f"{unit_in(content, name)} holds several tools ({names}), which go live together: "
                "use guard.release(label, ...), which is: rollguard release LABEL FILE; to go back: rollguard rollback"
            )

    def _record_live(self, version: Version, request: DeploymentRequest) -> None:
        live = self._store.versions.live(version.tool_name)
        if live is None or live.version_number != version.version_number:
            self._remote.record_live(version, request)

    def refuse_unloadable(self, code: Code) -> None:
        """Check that code for the folder is a tool; code for an actuator may be anything that it understands."""
        if self._remote.of(code.tool_name) is None:
            self._admission.refuse_unloadable(code.tool_name, code.content)

    def stored(self, code: Code, request: DeploymentRequest) -> Version:
        """Store code that was checked as a version; what the tool's file held before is one, too."""
        name = code.tool_name
        if self._remote.of(name) is None:
            self.settle(name)
            adopt(self._folder, self._admission.readings, self._store, name)
            if self._folder.read(name) != code.content:  # before the new version, so that the numbers show the order
                keep_hand_edit(self._folder, self._store, name)
        return self._store.versions.add(
            name,
            code.content,
            kind=code.kind,
            created_by=request.by,
            reason=request.reason,
            parent_version=code.parent_version,
            now=datetime.now(UTC),
        )


def codes_of(tool_name: str, code: object, kind: str | None = None) -> list[Code]:
    """Return the code of a tool and of all others that are in the same file or package.

    Raises:
        InvalidToolName, InvalidInput: as for `Code.of`.
    """
    given = Code.of(tool_name, code, kind)
    try:
        unit = unit_in(given.content, tool_name)
    except ValueError as error:
        raise InvalidInput(f"{tool_name}: {error}") from error
    several = tools_in(given.content, unit)
    return [given] if len(several) == 1 else [Code.of(name, given.content, kind) for name in several]


def bytes_of(code: object) -> bytes:
    """Return the bytes of a version's code; of a path, those of its file or package.

    Raises:
        InvalidInput: it is neither text nor bytes, or cannot be read.
    """
    if isinstance(code, bytes):
        return code
    if isinstance(code, os.PathLike):
        return code_at(Path(code))
    if not isinstance(code, str):
        raise InvalidInput(f"code: {type(code).__name__} is not the text, the bytes or the path of a file")
    try:
        return code.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"code: its text has no UTF-8: {error}") from error
