"""Making a version live: the file and the books change together, or neither does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from rollguard.errors import DeploymentConflict, StoreError, ToolFileError
from rollguard.model.version import Deployment, Version
from rollguard.registry.deploy.deployment_request import Release
from rollguard.registry.deploy.hand_edits import keep_hand_edit
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.swap_journal import SwapNote, notes_in, write_note
from rollguard.registry.serve.live_tools import Serving
from rollguard.store import ExecutionStore, Standing, digest
from rollguard.store.versions import versions

logger = logging.getLogger(__name__)


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

    @contextlib.contextmanager
    def noted(self, tool_name: str) -> Iterator[Callable[[Version], None]]:
        """`put`, for a transaction that makes a version live, as its last act. The file as it is now is kept.

        A note stands in the folder until it is known whether the transaction was committed. Where that is never
        learned, since the process died or the database went away, `settle` puts the file right afterwards.

        What it gives raises `DeploymentConflict` where somebody changed the file meanwhile: that would be lost.
        """
        live = self._store.versions.live(tool_name)
        present = self._kept(tool_name)
        notes: list[SwapNote] = []

        def put(version: Version) -> None:
            self._refuse_changed(tool_name, present)
            notes.append(self._note(version, live))
            self.put(version)

        try:
            yield put
        except BaseException:
            for note in notes:
                self._try_settling(note)
                note.leave()
            raise
        for note in notes:
            note.remove()

    def settle(self, tool_name: str | None = None) -> list[str]:
        """Put right the files of swaps that were cut short: those whose transaction was never committed.

        A file that holds anything else than what the swap left is a person's, and stays. A tool with a rollback under
        way is left to it, which makes the same swap again.

        Returns:
            The tools whose file was put right.

        Raises:
            StoreUnavailable: the database cannot be reached; the notes stay.
            ToolFileError: the folder cannot be read or written; the notes stay.
        """
        return [name for name in self.unsettled(tool_name) if self._settle(name)]

    def unsettled(self, tool_name: str | None = None) -> list[str]:
        """The tools that have a swap under way, or one that was cut short."""
        return sorted({note.tool_name for note in notes_in(self._folder.path, tool_name)})

    def go_live(self, version: Version, release: Release) -> int:
        """Make a kept version live, file and books alike, or neither. Raises as `ToolRegistry.deploy` does.

        Returns:
            The id of the deployment that is live then.
        """
        name = version.tool_name
        self.settle(name)
        live = self._store.versions.live(name)
        if live is not None and live.version_number == version.version_number:
            present = self._kept(name)
            if present != version.code:
                self._put_live_again(version, present)
            return live.deployment_id
        with self._noted_deployment(version) as put:
            after = self._store.versions.go_live(
                name,
                version.version_number,
                swap=put,
                deployed_by=release.by,
                reason=release.reason,
                deployed_at=release.moment,
                expected_live=live.deployment_id if live else None,
                force=release.force,
                begin=release.watch.begin if release.watch else None,
            )
        return after.deployment_id

    # --- inside ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _noted_deployment(self, version: Version) -> Iterator[Callable[[Version], None]]:
        """`noted`; where the database went away, the file is as it was at once, and settled when it is back."""
        before = self._folder.read(version.tool_name)
        try:
            with self.noted(version.tool_name) as put:
                yield put
        except StoreError:
            notes = notes_in(self._folder.path, version.tool_name)
            if any(note.before != note.after for note in notes if not note.living):
                self._put_back(version, before)
            raise

    def _kept(self, name: str) -> bytes | None:
        """What the tool's file holds now: a version, or made one."""
        while True:
            keep_hand_edit(self._folder, self._store, name)
            present = self._folder.read(name)
            if present is None or self._store.versions.find(name, digest(present)) is not None:
                return present

    def _refuse_changed(self, name: str, present: bytes | None) -> None:
        if self._folder.read(name) != present:
            raise DeploymentConflict(f"{name}: its file changed at this moment; look at it and try again")

    def _note(self, version: Version, live: Deployment | None) -> SwapNote:
        """Write down what the file holds and is to hold; after a swap that was cut short, what it held before that."""
        name, path = version.tool_name, self._folder.path
        present = self._sha256(name)
        earlier = [note for note in notes_in(path, name) if not note.living]
        before = next((note.before for note in earlier if note.after is not None and note.after == present), present)
        deployment_id = live.deployment_id if live else None
        note = write_note(path, name, before=before, after=version.sha256, live=deployment_id)
        for known in earlier:
            known.remove()
        return note

    def _try_settling(self, ours: SwapNote) -> None:
        try:
            self._settle(ours.tool_name, ours)
        except (StoreError, ToolFileError) as error:
            logger.warning("%s: whether its file and the books agree is found out later: %s", ours.tool_name, error)

    def _settle(self, name: str, *ours: SwapNote) -> bool:
        """Put the file right by the notes of dead processes, and by our own. A living process sees to its own."""
        with self._store.versions.held(name) as standing:
            notes = [*(note for note in notes_in(self._folder.path, name) if not note.living), *ours]
            present, live = self._sha256(name), standing.live
            settled = False
            if present != (live.sha256 if live else None):
                if standing.rollback_under_way:
                    return False
                settled = self._put_right(standing, notes, present)
            for note in notes:
                note.remove()
            return settled

    def _put_right(self, standing: Standing, notes: list[SwapNote], present: str | None) -> bool:
        live = standing.live
        for note in reversed(notes):
            # The books took it after all; or somebody else's deployment, which a process that stood still swapped over.
            moved_on = note.after is not None and standing.deployment_id != note.live
            if live is not None and moved_on and present in (note.before, note.after):
                logger.warning("%s: version %d is live, and is put into its file", live.tool_name, live.version_number)
                self.put(live)
                return True
            if note.after is not None and note.after == present:
                logger.warning("%s: a swap of its file was cut short, and is taken back", note.tool_name)
                self._take_back(standing, note)
                return True
        return False

    def _take_back(self, standing: Standing, note: SwapNote) -> None:
        if note.before is None:
            self._folder.remove(note.tool_name)
            self._serving.forget(note.tool_name)
            return
        before = standing.find(note.before)
        if before is None:
            logger.error("%s: what its file held before is not known", note.tool_name)
        else:
            self.put(before)

    def _sha256(self, name: str) -> str | None:
        code = self._folder.read(name)
        return None if code is None else digest(code)

    def _put_live_again(self, version: Version, present: bytes | None) -> None:
        """The books say that it is live, and the file does not: unless a deployment under way has just changed it."""
        with self._store.database.write() as connection:
            self._store.database.lock_tool(connection, version.tool_name)
            live = versions.live(connection, version.tool_name)
            if live is None or live.version_number != version.version_number:
                raise DeploymentConflict(
                    f"{version.tool_name}: another version went live in the meantime; look at it and deploy again"
                )
            if self._folder.read(version.tool_name) != version.code:
                self._refuse_changed(version.tool_name, present)
                self.put(version)

    def _put_back(self, version: Version, before: bytes | None) -> None:
        name = version.tool_name
        if self._folder.read(name) != version.code:
            return  # somebody else was here since
        if before is None:
            self._folder.remove(name)
        else:
            self._folder.swap(name, before)
        self._serving.forget(name)
