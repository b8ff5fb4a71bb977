"""Compare a folder, as git, CI, rsync or an image left it, with what is live: what one release of it would change."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from rollguard.compat import Form
from rollguard.errors import InvalidInput, ReleaseConflict
from rollguard.model.log import logger_of
from rollguard.model.release import MAX_LABEL, Release
from rollguard.model.version import Deployment
from rollguard.registry.deploy.hand_edits import UNKNOWN
from rollguard.registry.deploy.release import Released
from rollguard.registry.deploy.remote import Remote
from rollguard.registry.folder.folder import Folder, unit_in
from rollguard.registry.folder.readings import Readings
from rollguard.store import ExecutionStore, digest

logger = logger_of(__name__)

SYNC = "sync"
"""The key in a release's metadata that says which folder it was made from."""

_GIT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Conflict:
    """A live version that is not in the folder, and was not put there by a sync.

    Attributes:
        by: who deployed it.
    """

    tool_name: str
    version_number: int
    by: str

    @property
    def sentence(self) -> str:
        """Return what is in the way."""
        return (
            f"version {self.version_number} of {self.tool_name}, deployed by {self.by}, is live and not in the folder"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sync of a folder would do.

    Attributes:
        label: of the release; the folder's revision in git, or the hash of its tools.
        code: the code of each tool in the folder, unchanged ones too.
        changed: tools whose live version is another one; with `added`, those without a live version.
        edits: tools whose live version was edited or found in the folder since the last sync: it is released too.
        unchanged: tools whose code in the folder is live.
        conflicts: live versions that would be lost.
        quarantined: tools whose code in the folder was rolled back for its health, and those in one file or package
            with them; they are left as they are.
        missing: live tools that an earlier sync brought and the folder has no file of now; they are left as they are.
        first: whether the folder was never synced; then its release says what it has, even if all of it is live.
    """

    folder: Path
    label: str
    code: dict[str, bytes]
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    quarantined: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    first: bool = False

    @property
    def releases(self) -> bool:
        """Return whether there is anything to release."""
        return bool(self.changed or self.added or self.edits or (self.first and self.unchanged))

    @property
    def tools(self) -> dict[str, bytes]:
        """Return the code of all tools that the release consists of."""
        names = (*self.changed, *self.added, *self.edits, *self.unchanged)
        return {name: self.code[name] for name in sorted(names)}

    def with_conflicts_changed(self) -> Plan:
        """Return the plan in which the folder wins over live versions that it does not have."""
        lost = tuple(conflict.tool_name for conflict in self.conflicts)
        return replace(self, changed=(*self.changed, *lost), conflicts=())

    def without_conflicts(self) -> tuple[Plan, tuple[str, ...]]:
        """Return the plan in which live versions win, and the tools that it leaves as they are.

        The tools of one file or package go live together, so all of it is left.
        """
        left = {self._unit_of(conflict.tool_name) for conflict in self.conflicts}

        def others(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if self._unit_of(name) not in left)

        plan = replace(
            self,
            changed=others(self.changed),
            added=others(self.added),
            edits=others(self.edits),
            unchanged=others(self.unchanged),
            conflicts=(),
        )
        kept = {conflict.tool_name for conflict in self.conflicts} | (self.tools.keys() - plan.tools.keys())
        return plan, tuple(sorted(kept))

    def _unit_of(self, name: str) -> str:
        return unit_in(self.code[name], name)

    def refuse_conflicts(self) -> None:
        """Raise `ReleaseConflict` if a live version would be lost."""
        if self.conflicts:
            raise ReleaseConflict(
                f"nothing was changed: {'; '.join(conflict.sentence for conflict in self.conflicts)}. "
                'Bring it into the folder, or say which wins: wins="folder" or wins="live", which is: '
                "rollguard sync --wins folder"
            )


@dataclass(frozen=True, slots=True)
class Synced:
    """The result of a sync.

    Attributes:
        plan: what was found, and, unless it was a dry run, done.
        released: the release; None if there was nothing to release, or in a dry run.
        kept: tools whose live version won over the folder's.
    """

    plan: Plan
    released: Released | None = None
    kept: tuple[str, ...] = ()


def plan_of(path: Path, own: Folder, store: ExecutionStore, remote: Remote, ref: str | None) -> Plan:
    """Compare a folder with what is live. No file is run, and nothing is changed.

    Args:
        own: the registry's folder, which may be the same one.
        remote: knows the tools that have an actuator; their code may be anything.
        ref: the label; by default the folder's revision in git.

    Raises:
        InvalidInput: there is no such folder.
        ToolFileError: a file cannot be read.
    """
    if not path.is_dir():
        raise InvalidInput(f"{path} is not a folder; give the folder that holds the tools' files")
    folder, in_place = Folder(path), path.resolve() == own.path.resolve()
    code = _code_in(folder, remote)
    live = store.versions.live_of_all()
    first = not any(SYNC in release.metadata for release in store.releases.recent())
    found = {
        name: _kind_of(store, name, content, live.get(name), in_place=in_place, first=first)
        for name, content in code.items()
    }
    held = {unit_in(code[name], name) for name, kind in found.items() if kind == "quarantined"}
    kinds: dict[str, list[str]] = {kind: [] for kind in ("changed", "added", "edits", "unchanged", "quarantined")}
    conflicts: list[Conflict] = []
    for name, kind in found.items():
        if kind != "unchanged" and unit_in(code[name], name) in held:
            kinds["quarantined"].append(name)
        elif isinstance(kind, Conflict):
            conflicts.append(kind)
        else:
            kinds[kind].append(name)
    return Plan(
        path,
        ref or label_of(path, code),
        code,
        **{kind: tuple(names) for kind, names in kinds.items()},
        conflicts=tuple(conflicts),
        missing=tuple(
            name for name in sorted(live.keys() - code.keys()) if store.releases.latest_with(name, SYNC) is not None
        ),
        first=first,
    )


def already_released(plan: Plan, release: Release, store: ExecutionStore) -> None:
    """Check that a label that was released is that of the folder as it is.

    Raises:
        ReleaseConflict: the folder has other code.
    """
    known = {tool.tool_name: tool.version_number for tool in store.releases.tools(release.release_id)}
    for name in (*plan.changed, *plan.added):
        version = store.versions.find(name, digest(plan.code[name]))
        if version is None or known.get(name) != version.version_number:
            raise ReleaseConflict(
                f"{release.label} was released at {release.released_at:%Y-%m-%d %H:%M} UTC, and {name} is another one "
                "in the folder; commit it, or give another label with ref=, which is: rollguard sync --ref"
            )


def label_of(path: Path, code: dict[str, bytes]) -> str:
    """Return the label of a folder: its revision in git, with the hash of its tools if they differ from it."""
    tools = hashlib.sha256()
    for name, content in sorted(code.items()):
        tools.update(f"{name} {digest(content)}\n".encode())
    revision = _git(path, "rev-parse", "--short=12", "HEAD")
    if revision is None:
        return f"tools-{tools.hexdigest()[:12]}"
    dirty = _git(path, "status", "--porcelain", "--untracked-files=all", "--", ".")
    label = f"g{revision}" if revision.isdecimal() else revision
    return label[:MAX_LABEL] if not dirty else f"{label}-{tools.hexdigest()[:12]}"


def _git(path: Path, *words: str) -> str | None:
    """Return what git says of a folder; None if it is no checkout, or git is not installed."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, without a shell
            ["git", "-C", str(path), *words],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.info("git does not say which revision %s is: %s", path, error)
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _code_in(folder: Folder, remote: Remote) -> dict[str, bytes]:
    readings, code = Readings(folder), {}
    for name in folder.names():
        reading, content = readings.of(name), folder.read(name)
        if reading is None or content is None or (reading.form.form is Form.NONE and not remote.has(name)):
            continue  # a module beside the tools
        code[name] = content
    return code


def _kind_of(
    store: ExecutionStore, name: str, content: bytes, live: Deployment | None, *, in_place: bool, first: bool
) -> str | Conflict:
    place = store.edits.place_of(name, digest(content))
    if live is not None and place.version_number == live.version_number:
        found = live.edit_began_at is not None or (not first and live.deployed_by == UNKNOWN)
        if not found or live.kind != "deployment" or live.release_id is not None:
            return "unchanged"
        last = store.releases.latest_with(name, SYNC)
        known = (
            last is not None
            and last[0].released_at >= live.deployed_at
            and last[1].version_number == live.version_number
        )
        return "unchanged" if known else "edits"
    if place.quarantined:
        return "quarantined"
    if live is None:
        return "added"
    return (
        "changed"
        if _may_be_replaced(store, live, in_place=in_place)
        else Conflict(name, live.version_number, live.deployed_by)
    )


def _may_be_replaced(store: ExecutionStore, live: Deployment, *, in_place: bool) -> bool:
    """Return whether a live version is one that the folder had, so that nothing is lost with it."""
    if live.kind == "rollback" or (in_place and live.edit_began_at is not None):
        return True
    last = store.releases.latest_with(live.tool_name, SYNC)
    if last is None:
        return live.deployed_by == UNKNOWN and (in_place or live.edit_began_at is None)
    return last[1].version_number == live.version_number
