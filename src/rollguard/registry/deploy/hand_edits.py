"""Store code that nobody deployed: files from before Rollguard, and files edited by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from rollguard.compat import Form
from rollguard.errors import DeploymentConflict, RollguardError, StoreUnavailable
from rollguard.model.log import logger_of
from rollguard.model.version import Version
from rollguard.registry.folder.folder import Folder
from rollguard.registry.folder.readings import Readings
from rollguard.store import ExecutionStore, digest

logger = logger_of(__name__)

UNKNOWN = "unknown"


def adopt_all(folder: Folder, readings: Readings, store: ExecutionStore) -> None:
    """Adopt every file whose tool has no live version. No file is run.

    Raises:
        StoreUnavailable: the database cannot be reached; the next refresh adopts.
    """
    live = store.versions.live_of_all()
    for name in folder.names():
        if name not in live:
            try:
                adopt(folder, readings, store, name)
            except StoreUnavailable:
                raise
            except RollguardError as error:  # one file's error must not stop the others
                logger.error("%s is not adopted: %s", name, error)
    readings.keep()


def adopt(folder: Folder, readings: Readings, store: ExecutionStore, name: str) -> None:
    """Make the file of a tool without a live version its live version, so that it can be restored.

    A file whose syntax tree holds no tool is skipped, because a rollback must never restore it.
    """
    if store.versions.live(name) is not None:
        return
    reading = readings.of(name)
    if reading is None:
        return
    if reading.form.form is not Form.TOOL:
        logger.info("%s is not adopted yet: %s", folder.file(name), reading.form.says)
        return
    code = folder.read(name)
    if code is None or digest(code) != reading.sha256:  # it changed at this moment; the next refresh adopts it
        return
    place = store.edits.place_of(name, reading.sha256)
    if place.quarantined:
        logger.info("%s is not adopted: another tool of it was rolled back", folder.file(name))
        return
    if place.withdrawn:
        logger.info("%s is not adopted: the release that added the tool was rolled back", folder.file(name))
        return
    now = datetime.now(UTC)
    reason = "found in the folder when Rollguard first saw it"
    version = store.versions.add(name, code, kind="initial", created_by=UNKNOWN, reason=reason, now=now)
    try:
        store.versions.go_live(
            name,
            version.version_number,
            swap=_already_there,
            deployed_by=UNKNOWN,
            reason=reason,
            deployed_at=now,
            expected_live=None,
        )
    except DeploymentConflict:
        logger.info("%s was adopted by another process at the same moment", name)


def keep_hand_edit(folder: Folder, store: ExecutionStore, name: str, why: str = "edited by hand") -> Version | None:
    """Store the tool's file as a version if it is none yet, and return that version."""
    code = folder.read(name)
    if code is None or store.versions.find(name, digest(code)) is not None:
        return None
    version = store.versions.add(
        name,
        code,
        kind="edit",
        created_by=UNKNOWN,
        reason=f"found in the folder, {why}",
        now=datetime.now(UTC),
    )
    logger.warning("the file of %s was %s; that is kept as version %d", name, why, version.version_number)
    return version


def remove_unless_shared(folder: Folder, store: ExecutionStore, name: str) -> None:
    """Remove the file or package of a tool that is withdrawn, unless another live tool is in it.

    Raises:
        ToolFileError: it cannot be removed.
        StoreUnavailable: the database cannot be reached.
    """
    others = set(folder.tools_of(folder.unit(name))) - {name}
    if not any(store.versions.live(other) for other in others):
        folder.remove(name)


def _already_there(_version: Version) -> None:
    """Do nothing: the file holds the version's code already."""
