"""A version on its way to being live: checked, kept, put into its place, and written into the books."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rollguard.errors import InvalidInput, StoreBusy, StoreError, ToolFileError
from rollguard.model.version import Version
from rollguard.registry.deploy.compat_check import changes_of, refuse_breaking, warn_of
from rollguard.registry.deploy.deployment_request import Release
from rollguard.registry.deploy.file_swap import Swapping
from rollguard.registry.deploy.hand_edits import adopt, keep_hand_edit
from rollguard.registry.deploy.remote import Elsewhere
from rollguard.registry.deploy.replica import Following
from rollguard.registry.folder.folder import Folder, checked_file_name
from rollguard.registry.serve.loader import load
from rollguard.store import ExecutionStore, digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Code:
    """What is to be kept as a version.

    Attributes:
        tool_name: whose code it is.
        content: the file's bytes.
        kind: what the version is; None is initial for a tool's first, else improvement.
        parent_version: the version it was made from; None is the one that is live.
    """

    tool_name: str
    content: bytes
    kind: str | None = None
    parent_version: int | None = None

    @classmethod
    def of(cls, tool_name: str, code: object, kind: str | None = None, parent_version: int | None = None) -> Code:
        """`code`, given as text or bytes.

        Raises:
            InvalidToolName: no file could bear the name.
            InvalidInput: the code is neither text nor bytes.
        """
        return cls(checked_file_name(tool_name), bytes_of(code), kind, parent_version)


class Releasing:
    """Makes versions live, in the folder or, by an actuator, where they live.

    Args:
        folder: the folder of tools.
        store: where the books are.
        swapping: puts versions into the folder.
        elsewhere: the tools that do not live in it.
        following: told of each deployment made in the folder, where the folder follows those made elsewhere.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        swapping: Swapping,
        elsewhere: Elsewhere,
        following: Following | None,
    ) -> None:
        self._folder = folder
        self._store = store
        self._swapping = swapping
        self._elsewhere = elsewhere
        self._following = following

    def deploy(self, code: Code, release: Release, *, strict: bool) -> Version:
        """Keep the code and make it live. Raises as `ToolRegistry.deploy` does."""
        self._refuse_unloadable(code)
        return self._released(code, release, strict, self.go_live)

    def note(self, code: Code, release: Release, *, strict: bool) -> Version:
        """Keep what somebody else made live elsewhere. Raises as `ToolRegistry.note_deployment` does."""
        name = code.tool_name
        if self._elsewhere.of(name) is None:
            raise InvalidInput(
                f"{name} has no actuator, so it lives in the folder; "
                f"deploy it, or give it one in [tools.{name}.actuator]"
            )
        return self._released(code, release, strict, self._say_live)

    def keep(self, code: Code, release: Release) -> Version:
        """Keep the code without making it live. Raises as `ToolRegistry.keep` does."""
        self._refuse_unloadable(code)
        return self._keep(code, release)

    def go_live(self, version: Version, release: Release) -> None:
        """Make a kept version live. Raises as `ToolRegistry.deploy` does."""
        actuator = self._elsewhere.of(version.tool_name)
        if actuator is not None:
            self._elsewhere.go_live(actuator, version, release)
            return
        deployment_id = self._swapping.go_live(version, release)
        if self._following is not None:
            self._following.made_here(version.tool_name, deployment_id)

    def made_live_here(self, tool_name: str) -> None:
        """See `ToolRegistry.made_live_here`."""
        if self._following is None:
            return
        try:
            live = self._store.versions.live(tool_name)
        except StoreError as error:  # it is live all the same
            logger.info("%s: what was made live here is looked at again: %s", tool_name, error)
            return
        if live is not None:
            self._following.made_here(tool_name, live.deployment_id)

    def settle(self, tool_name: str | None = None) -> list[str]:
        """Put right the files of swaps that were cut short. See `ToolRegistry.settle_swaps`."""
        settled = []
        for name in self._swapping.unsettled(tool_name):
            try:
                settled += self._swapping.settle(name)
            except (StoreBusy, ToolFileError) as error:  # one tool never hides the others
                logger.error("%s is not put right yet: %s", name, error)
        return settled

    def _released(
        self, code: Code, release: Release, strict: bool, make_live: Callable[[Version, Release], object]
    ) -> Version:
        found = changes_of(self._folder, self._store, code.tool_name, code.content)
        if strict:
            refuse_breaking(code.tool_name, found)
        version = self._keep(code, release)
        make_live(version, release)
        warn_of(code.tool_name, found)
        return version

    def _say_live(self, version: Version, release: Release) -> None:
        live = self._store.versions.live(version.tool_name)
        if live is None or live.version_number != version.version_number:
            self._elsewhere.say_live(version, release)

    def _refuse_unloadable(self, code: Code) -> None:
        """Code of the folder has to be a tool; that of an actuator may be anything that it understands."""
        if self._elsewhere.of(code.tool_name) is None:
            load(code.tool_name, code.content, self._folder.file(code.tool_name), digest(code.content))

    def _keep(self, code: Code, release: Release) -> Version:
        name = code.tool_name
        if self._elsewhere.of(name) is None:
            self.settle(name)
            adopt(self._folder, self._store, name)
            if self._folder.read(name) != code.content:  # before the new version, so that the numbers tell the order
                keep_hand_edit(self._folder, self._store, name)
        return self._store.versions.add(
            name,
            code.content,
            kind=code.kind,
            created_by=release.by,
            reason=release.reason,
            parent_version=code.parent_version,
            now=datetime.now(UTC),
        )


def bytes_of(code: object) -> bytes:
    """The bytes of a file's code. Raises `InvalidInput` where it is none."""
    if isinstance(code, bytes):
        return code
    if not isinstance(code, str):
        raise InvalidInput(f"code: {type(code).__name__} is not the text or the bytes of a file")
    try:
        return code.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"code: its text has no UTF-8: {error}") from error
