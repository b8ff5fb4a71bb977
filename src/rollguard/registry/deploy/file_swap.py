"""Make a version live: the file and the recorded state change together, or neither does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rollguard.compat import is_package
from rollguard.errors import DeploymentConflict, StoreError, ToolFileError
from rollguard.model.log import logger_of
from rollguard.model.version import Deployment, Version
from rollguard.registry.deploy.deployment_request import DeploymentRequest
from rollguard.registry.deploy.hand_edits import keep_hand_edit, remove_unless_shared
from rollguard.registry.folder.folder import Folder, unit_in
from rollguard.registry.folder.swap_journal import NO_FILE, SwapEntry, entries_in, write_entry
from rollguard.registry.serve.live_tools import LiveTools
from rollguard.store import ExecutionStore, Standing, digest
from rollguard.store.versions import versions

logger = logger_of(__name__)


class FileSwap:
    """Swaps versions of the tools of a folder."""

    def __init__(self, folder: Folder, store: ExecutionStore, live_tools: LiveTools) -> None:
        self._folder = folder
        self._store = store
        self._live_tools = live_tools

    def put(self, version: Version) -> None:
        """Swap a version's code into its tool's file, and serve it from the next call on."""
        self._folder.swap(version.tool_name, version.code)
        self._live_tools.forget(version.tool_name)

    def remove(self, tool_name: str) -> None:
        """Remove the file of a tool that is withdrawn, and serve it no longer. What holds other live tools stays."""
        remove_unless_shared(self._folder, self._store, tool_name)
        self._live_tools.forget(tool_name)

    @contextlib.contextmanager
    def journaled(self, tool_name: str) -> Iterator[Callable[[Version | None], None]]:
        """Yield `put` for the last step of a transaction that makes a version live. The present file is stored first.

        For None instead of a version, the yielded function removes the file.

        The folder holds an entry until the result of the transaction is known. If it stays unknown, because the process
        died or the database went away, `settle` corrects the file later.

        The yielded function raises `DeploymentConflict` if somebody changed the file meanwhile, so no edit is lost.
        """
        live = self._store.versions.live(tool_name)
        present = self._kept(tool_name)
        entries: list[SwapEntry] = []

        def put(version: Version | None) -> None:
            if not self._is_put(tool_name, version):  # by another tool of the same file or package
                self._refuse_changed(tool_name, present)
            before = None if present is None else digest(present)
            entries.append(self._write_entry(tool_name, before, version.sha256 if version else NO_FILE, live))
            if version is None:
                self.remove(tool_name)
            else:
                self.put(version)

        try:
            yield put
        except BaseException:
            for entry in entries:
                self._try_settling(entry)
                entry.leave()
            raise
        for entry in entries:
            entry.remove()

    def settle(self, tool_name: str | None = None) -> list[str]:
        """Correct the files of interrupted swaps, whose transaction was not committed.

        A file with other content than the swap wrote was edited by a person, and stays. A rollback under way repeats
        its own swap, so its tool is skipped.

        Returns:
            The tools whose file was corrected.

        Raises:
            StoreUnavailable: the database cannot be reached; the entries stay.
            ToolFileError: the folder cannot be read or written; the entries stay.
        """
        return [name for name in self.unsettled(tool_name) if self._settle(name)]

    def unsettled(self, tool_name: str | None = None) -> list[str]:
        """Return the tools with a swap under way or an interrupted one."""
        return sorted({entry.tool_name for entry in entries_in(self._folder.path, tool_name)})

    def go_live(self, version: Version, request: DeploymentRequest) -> int:
        """Make a stored version live, in file and database, or in neither. Same errors as `ToolRegistry.deploy`.

        Returns:
            The id of the live deployment.
        """
        name = version.tool_name
        self.settle(name)
        live = self._store.versions.live(name)
        if request.replaces is not None:
            request.refuse_other(name, self._store.versions.get(name, live.version_number).sha256 if live else None)
        if live is not None and live.version_number == version.version_number:
            present = self._kept(name)
            if present != version.code:
                self._put_live_again(version, present)
            return live.deployment_id
        with self.deploying(version) as put:
            after = self._store.versions.go_live(
                name,
                version.version_number,
                swap=put,
                deployed_by=request.by,
                reason=request.reason,
                deployed_at=request.moment,
                expected_live=live.deployment_id if live else None,
                force=request.force,
                begin=request.watch.begin if request.watch else None,
                promotes=request.promotes,
            )
        return after.deployment_id

    @contextlib.contextmanager
    def deploying(self, version: Version) -> Iterator[Callable[[Version | None], None]]:
        """Yield like `journaled`. If the database goes away, restore the file at once, and settle it later."""
        before = self._folder.read(version.tool_name)
        try:
            with self.journaled(version.tool_name) as put:
                yield put
        except StoreError:
            entries = entries_in(self._folder.path, version.tool_name)
            if any(entry.before != entry.after for entry in entries if not entry.living):
                self._put_back(version, before)
            raise

    # --- inside ----------------------------------------------------------------------------------------------------

    def _kept(self, name: str) -> bytes | None:
        """Return the version of the tool's present file; store it as one if it is none."""
        while True:
            keep_hand_edit(self._folder, self._store, name)
            present = self._folder.read(name)
            if present is None or self._store.versions.find(name, digest(present)) is not None:
                return present

    def _refuse_changed(self, name: str, present: bytes | None) -> None:
        if self._folder.read(name) != present:
            raise DeploymentConflict(f"{name}: its file changed at this moment; check it and try again")

    def _is_put(self, name: str, version: Version | None) -> bool:
        present = self._folder.read(name)
        return version is not None and present == version.code

    def _write_entry(self, name: str, present: str | None, after: str, live: Deployment | None) -> SwapEntry:
        """Write an entry with the file's content before and after; `before` is from before any interrupted swap."""
        path = self._folder.path
        earlier = [entry for entry in entries_in(path, name) if not entry.living]
        before = next(
            (entry.before for entry in earlier if entry.after is not None and entry.after == (present or NO_FILE)),
            present,
        )
        deployment_id = live.deployment_id if live else None
        entry = write_entry(path, name, before=before, after=after, live=deployment_id, access=self._folder.access)
        for known in earlier:
            known.remove()
        return entry

    def _try_settling(self, ours: SwapEntry) -> None:
        try:
            self._settle(ours.tool_name, ours)
        except (StoreError, ToolFileError) as error:
            logger.warning("%s: whether its file and the database agree is found out later: %s", ours.tool_name, error)

    def _settle(self, name: str, *ours: SwapEntry) -> bool:
        """Correct the file from the entries of dead processes and of this one. Live processes settle their own."""
        with self._store.versions.held(name) as standing:
            entries = [*(entry for entry in entries_in(self._folder.path, name) if not entry.living), *ours]
            present, live = self._sha256(name), standing.live
            settled = False
            if present != (live.sha256 if live else None):
                if standing.rollback_under_way:
                    return False
                settled = self._put_right(standing, entries, present)
            for entry in entries:
                entry.remove()
            return settled

    def _put_right(self, standing: Standing, entries: list[SwapEntry], present: str | None) -> bool:
        live = standing.live
        for entry in reversed(entries):
            # The database has the swap; or a suspended process has overwritten another deployment's file.
            moved_on = entry.after is not None and standing.deployment_id != entry.live
            if live is not None and moved_on and (present or NO_FILE) in (entry.before or NO_FILE, entry.after):
                logger.warning("%s: version %d is live, and is put into its file", live.tool_name, live.version_number)
                self.put(live)
                return True
            if present is None and entry.after not in (None, NO_FILE) and live is not None and is_package(live.code):
                logger.warning("%s: a swap of its package was cut short, and is taken back", entry.tool_name)
                self.put(live)
                return True
            if entry.after is not None and entry.after == (present or NO_FILE):
                logger.warning("%s: a swap of its file was cut short, and is taken back", entry.tool_name)
                self._take_back(standing, entry)
                return True
        return False

    def _take_back(self, standing: Standing, entry: SwapEntry) -> None:
        if entry.before is None:
            beside = self._live_beside(entry.tool_name)
            if beside is None:
                self.remove(entry.tool_name)
            else:  # the swap added the tool to a file or package that was there
                self.put(beside)
            return
        before = standing.find(entry.before)
        if before is None:
            logger.error("%s: what its file held before is not known", entry.tool_name)
        else:
            self.put(before)

    def _live_beside(self, name: str) -> Version | None:
        """Return the live version of another tool of the same file or package, which they share."""
        unit = self._folder.unit(name)
        for other, live in self._store.versions.live_of_all().items():
            if other != name and (other == unit or other.startswith(f"{unit}/")):
                version = self._store.versions.get(other, live.version_number)
                if unit_in(version.code, other) == unit:
                    return version
        return None

    def _sha256(self, name: str) -> str | None:
        code = self._folder.read(name)
        return None if code is None else digest(code)

    def _put_live_again(self, version: Version, present: bytes | None) -> None:
        """Write the recorded live version into its file, unless a deployment under way has just changed it."""
        with self._store.database.write() as connection:
            self._store.database.lock_tool(connection, version.tool_name)
            live = versions.live(connection, version.tool_name)
            if live is None or live.version_number != version.version_number:
                raise DeploymentConflict(
                    f"{version.tool_name}: another version went live in the meantime; check it and deploy again"
                )
            if self._folder.read(version.tool_name) != version.code:
                self._refuse_changed(version.tool_name, present)
                self.put(version)

    def _put_back(self, version: Version, before: bytes | None) -> None:
        name = version.tool_name
        if self._folder.read(name) != version.code:
            return  # somebody changed the file since
        if before is None:
            self.remove(name)
        else:
            self._folder.swap(name, before)
            self._live_tools.forget(name)
