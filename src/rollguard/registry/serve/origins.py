"""Tell which version the code of a file is, make it one if it is an edit, and say which code is not served."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from rollguard.errors import InvalidInput, StoreError, ToolFileError, ToolLoadError
from rollguard.model.log import logger_of
from rollguard.model.session import Session
from rollguard.model.version import Deployment, Version
from rollguard.registry.folder.folder import FileStamp, Folder
from rollguard.registry.folder.replica_state import ReplicaState
from rollguard.registry.folder.swap_journal import entries_in
from rollguard.store import Beginning, ExecutionStore, Place, digest

logger = logger_of(__name__)

_DAY = 86_400


class Monitor(Protocol):
    """Starts the sessions of edits."""

    def watch(self, tool_name: str) -> Beginning:
        """Return a session that begins in the transaction that makes an edit live."""
        ...

    def note_baseline(self, session: Session) -> None:
        """Note what is mixed in the baseline of a new session."""
        ...


class Origins:
    """Knows where the code in a folder is from.

    Code that was changed in place is an edit: it becomes a version, goes live and is monitored when it is first served.
    Known code that was there when the process started is none, because processes with old files start all the time.

    Args:
        folder: the folder.
        store: knows the versions.
        writes: False for a program that only reads: it makes no versions.
        edit_seconds: a save that follows the one before it within so many seconds belongs to the same edit.
        is_remote: returns whether a tool has an actuator, so that its file means nothing.

    Raises:
        InvalidInput: `edit_seconds` is not a number of seconds.

    Attributes:
        followed: which deployments the folder has; None if it does not follow other machines.
    """

    def __init__(
        self,
        folder: Folder,
        store: ExecutionStore,
        *,
        writes: bool = False,
        edit_seconds: float = 60.0,
        is_remote: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        if isinstance(edit_seconds, bool) or not isinstance(edit_seconds, int | float) or not 0 <= edit_seconds <= _DAY:
            raise InvalidInput(f"edit_seconds: {edit_seconds!r} is not a number of seconds from 0 to {_DAY}")
        self._folder = folder
        self._store = store
        self._writes = writes
        self._within = timedelta(seconds=edit_seconds)
        self._is_remote = is_remote
        self._at_start = folder.stamps() if writes else {}
        self._monitor: Callable[[], Monitor | None] = lambda: None
        self.followed: ReplicaState | None = None
        if writes:
            store.database.when_replaced(self.begin_anew)

    def monitor_with(self, monitor: Monitor) -> None:
        """Have edits monitored from the moment that they go live. The monitor is not kept alive."""
        self._monitor = weakref.ref(monitor)

    def begin_anew(self) -> None:
        """Take the files as they are, because the database is another one: what it calls live is live."""
        try:
            self._at_start = self._folder.stamps()
        except ToolFileError as error:
            logger.warning("the files are looked at again later: %s", error)

    def records(self, name: str) -> bool:
        """Return whether an edit of a tool's file becomes a version here."""
        return self._writes and not self._is_remote(name)

    def place_of(self, name: str, sha256: str) -> Place | None:
        """Return what the database knows of a file's code; None if it is away."""
        try:
            return self._store.edits.place_of(name, sha256)
        except StoreError as error:
            logger.warning("the version of %s is not known yet: %s", name, error)
            return None

    def refusal(self, name: str, stamp: FileStamp, sha256: str, place: Place | None) -> ToolLoadError | None:
        """Return why the live version is served instead of a file's code; None if the file is to be served."""
        if place is not None and place.withdrawn and not self._is_remote(name):
            says = f"holds version {place.version_number}, which was withdrawn with the release that added the tool"
            return ToolLoadError(f"{self._folder.file(name)} {says}; to make it live again, deploy it")
        if place is None or place.live is None or place.version_number == place.live or self._is_remote(name):
            return None
        file, number = self._folder.file(name), place.version_number
        if place.quarantined:
            says = f"holds version {number}, which is in quarantine, so version {place.live} is served"
            return ToolLoadError(f"{file} {says}; fix the file, or insist with: rollguard deploy --force")
        if number is not None and self.followed is not None and not self._is_edit(name, stamp, sha256):
            says = f"holds version {number}, but version {place.live} is live and is served"
            return ToolLoadError(f"{file} {says}; to make version {number} live again, deploy it")
        return None

    def live_code(self, name: str, place: Place | None) -> Version | None:
        """Return the live version of a tool of the folder; None without one, or if the database is away."""
        if place is None or place.live is None or self._is_remote(name):
            return None
        try:
            return self._store.versions.get(name, place.live)
        except StoreError as error:
            logger.warning("the live version of %s cannot be read now: %s", name, error)
            return None

    def version_of(self, name: str, stamp: FileStamp, code: bytes, place: Place | None) -> int | None:
        """Return the version of code that is served from now on; an edit becomes one. None if it is not known yet."""
        if place is None:
            return None
        sha256 = digest(code)
        settled = place.version_number is not None and (
            place.version_number == place.live or not self._is_edit(name, stamp, sha256)
        )
        if settled or not self.records(name):
            return place.version_number

        def goes_live(before: Deployment | None, known: Version | None) -> bool | None:
            if self._folder.read(name) != code or self._swap_under_way(name, sha256):
                return None
            if before is None:
                return True
            has = None if self.followed is None else self.followed.of(name)
            behind = has is not None and has < before.deployment_id
            return not behind and (known is None or self._is_edit(name, stamp, sha256))

        try:
            return self._serve(name, code, goes_live)
        except (StoreError, ToolFileError) as error:
            logger.warning("the code of %s is served, and is no version yet: %s", name, error)
            return place.version_number

    def _serve(
        self, name: str, code: bytes, goes_live: Callable[[Deployment | None, Version | None], bool | None]
    ) -> int | None:
        monitor = self._monitor()
        beginning = None if monitor is None else monitor.watch(name)
        begin = None if beginning is None else beginning.begin
        edited = self._store.edits.serve(
            name, code, goes_live=goes_live, begin=begin, within=self._within, now=datetime.now(UTC)
        )
        if edited is None:
            return None
        if edited.deployment is not None:
            if self.followed is not None:
                self.followed.record({name: edited.deployment.deployment_id})
            number = edited.version.version_number
            logger.warning("the file of %s was edited by hand; it is version %d, which is live now", name, number)
            if monitor is not None and beginning is not None and beginning.session is not None:
                monitor.note_baseline(beginning.session)
        return edited.version.version_number

    def _is_edit(self, name: str, stamp: FileStamp, sha256: str) -> bool:
        """Return whether known code came into the file since the start, and not by a program that puts it back."""
        replaced = None if self.followed is None else self.followed.replaced(name)
        return stamp != self._at_start.get(name) and replaced != sha256

    def _swap_under_way(self, name: str, sha256: str) -> bool:
        file = self._folder.file(name)  # of a file with several tools, the swap may be another one's
        return any(
            (entry.living or entry.after == sha256) and self._folder.file(entry.tool_name) == file
            for entry in entries_in(self._folder.path)
        )
