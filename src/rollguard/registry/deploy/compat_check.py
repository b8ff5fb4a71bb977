"""Find the breaking changes of a deployment: log them, or refuse it if it is strict."""

from __future__ import annotations

from collections.abc import Sequence

from rollguard.compat import Change, changes
from rollguard.errors import BreakingChange
from rollguard.model.log import logger_of
from rollguard.registry.folder.folder import Folder
from rollguard.store import ExecutionStore

logger = logger_of(__name__)


def changes_of(folder: Folder, store: ExecutionStore, name: str, code: bytes) -> tuple[Change, ...]:
    """Return what changes for callers between the code served now, edited by hand or not, and `code`."""
    present = live_code(folder, store, name)
    return () if present is None else changes(present, code, name)


def live_code(folder: Folder, store: ExecutionStore, name: str) -> bytes | None:
    """Return the code that is served now, edited by hand or not; None if there is none."""
    present = folder.read(name)
    if present is None and (live := store.versions.live(name)) is not None:
        return store.versions.get(name, live.version_number).code
    return present


def refuse_breaking(name: str, found: Sequence[Change]) -> None:
    """Raise `BreakingChange` if one of the changes is breaking."""
    breaking = [change.sentence for change in found if change.breaking]
    if breaking:
        raise BreakingChange(
            f"{name} was not deployed, since it would break callers: {'; '.join(breaking)}. "
            "Keep what callers use, or deploy it without strict"
        )


def warn_of(name: str, found: Sequence[Change]) -> None:
    """Log each breaking change."""
    for change in found:
        if change.breaking:
            logger.warning("%s: this breaks callers: %s", name, change)
