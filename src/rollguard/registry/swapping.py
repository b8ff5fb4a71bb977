"""Making a version live: the file and the books change together, or neither does."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from rollguard.errors import DeploymentConflict, InvalidInput, StoreError
from rollguard.registry.adoption import keep_hand_edit
from rollguard.registry.folder import Folder
from rollguard.registry.serving import Serving
from rollguard.store import ExecutionStore, Version, versions
from rollguard.store.names import checked_id
from rollguard.store.payloads import clean_text


class Swapping:
    """Swaps versions of the tools of a folder."""

    def __init__(self, folder: Folder, store: ExecutionStore, serving: Serving) -> None:
        self._folder = folder
        self._store = store
        self._serving = serving

    def put(self, version: Version) -> None:
        """Swap a version's code into its tool's file, and serve it from the next call on."""
        self._folder.swap(version.tool_name, version.code)
        self._serving.forget(version.tool_name)

    def go_live(
        self, version: Version, by: str, reason: str | None, at: datetime | None, *, force: bool = False
    ) -> int:
        """Make a kept version live, file and books alike, or neither. Raises as `ToolRegistry.deploy` does.

        Returns:
            The id of the deployment that is live then.
        """
        name = version.tool_name
        keep_hand_edit(self._folder, self._store, name)
        live = self._store.versions.live(name)
        present = self._folder.read(name)
        if live is not None and live.version_number == version.version_number:
            if present != version.code:
                self._put_live_again(version)
            return live.deployment_id
        swapped = False

        def swap(version: Version) -> None:
            nonlocal swapped
            if self._folder.read(name) != present:
                raise DeploymentConflict(f"{name}: its file changed at this moment; look at it and deploy again")
            self.put(version)
            swapped = True

        try:
            after = self._store.versions.go_live(
                name,
                version.version_number,
                swap=swap,
                deployed_by=by,
                reason=reason,
                deployed_at=at or datetime.now(UTC),
                expected_live=live.deployment_id if live else None,
                force=force,
            )
        except StoreError:
            if swapped:  # the books did not take it, so the file does not either
                self._put_back(version, present)
            raise
        return after.deployment_id

    def _put_live_again(self, version: Version) -> None:
        """The books say that it is live, and the file does not: unless a deployment under way has just changed it."""
        with self._store.database.write() as connection:
            self._store.database.lock_tool(connection, version.tool_name)
            live = versions.live(connection, version.tool_name)
            if live is None or live.version_number != version.version_number:
                raise DeploymentConflict(
                    f"{version.tool_name}: another version went live in the meantime; look at it and deploy again"
                )
            if self._folder.read(version.tool_name) != version.code:
                self.put(version)

    def _put_back(self, version: Version, before: bytes | None) -> None:
        name = version.tool_name
        with contextlib.suppress(StoreError):
            live = self._store.versions.live(name)
            if live is not None and live.version_number == version.version_number:
                return  # the books did take it: only the answer was lost
        if self._folder.read(name) != version.code:
            return  # somebody else was here since
        if before is None:
            self._folder.remove(name)
        else:
            self._folder.swap(name, before)
        self._serving.forget(name)


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


def check(*, created_by: object, reason: object, moment: object) -> None:
    """Raise `InvalidInput` where what is said of a deployment cannot be meant."""
    checked_id("created_by", created_by)
    if reason is not None and (not isinstance(reason, str) or clean_text(reason) != reason):
        raise InvalidInput("reason: give text of at most 8192 characters, without NUL")
    if moment is not None and not isinstance(moment, datetime):
        raise InvalidInput(f"deployed_at: {moment!r} is not a datetime")
