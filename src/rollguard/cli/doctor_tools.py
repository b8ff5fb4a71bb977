"""What `rollguard doctor` finds of the tools: their files, the sections of the settings, and remote targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollguard.cli.findings import Finding, broken, few, ok, warning
from rollguard.cli.folder_files import FileKind, FolderFile, files_of, unused_sections
from rollguard.compat import Form
from rollguard.errors import ToolFileError
from rollguard.model.version import Deployment
from rollguard.registry import Folder
from rollguard.registry.folder.readings import Readings
from rollguard.registry.folder.swap_journal import entries_in
from rollguard.registry.serve.load_checks import LoadChecks
from rollguard.settings import Settings
from rollguard.store import ExecutionStore, digest


def tools(settings: Settings, store: ExecutionStore) -> Iterator[Finding]:
    """Yield what is wrong with the tools of the folder, and what the other files are."""
    if not settings.tools_dir.is_dir():
        return
    folder = Folder(settings.tools_dir)
    readings = Readings(folder)
    remote = {name for name, actuator in settings.actuators.items() if actuator.kind != "folder"}
    programs = store.releases.of_programs()
    live = {
        name: at
        for name, at in store.versions.live_of_all().items()
        if name not in remote and (name, at.version_number) not in programs
    }
    quarantined = {(held.tool_name, held.sha256) for held in store.quarantine.in_force()}
    wrong = [
        finding
        for name, at in live.items()
        for finding in _tool(folder, readings, store, name, at, quarantined, follows=settings.follow)
    ]
    yield from wrong
    others = [file for file in files_of(folder) if file.name not in live]
    yield from _other_files(settings, others)
    for says in unused_sections(settings, {*live, *(file.name for file in others), *store.executions.tool_names()}):
        yield warning("settings", says, "correct the name, or remove the section")
    cut_short = sorted({entry.tool_name for entry in entries_in(settings.tools_dir)})
    if cut_short:
        says = f"a swap of a file is under way, or was cut short: {', '.join(cut_short)}"
        yield warning("tools", says, "rollguard watch completes or undoes it, and so does the next process that starts")
    if not wrong and not cut_short:
        yield ok("tools", f"{len(live)} tools are in the folder as recorded")
    for unsettled in store.actuations.unsettled():
        says = f"{unsettled.tool_name}: which version its target runs is not known since {unsettled.since:%F %R} UTC"
        fix = "rollguard watch requests the live version until the target acknowledges it; its last answer: "
        yield broken("tools", says, fix + (unsettled.last_error or "none yet"))


def _other_files(settings: Settings, files: Sequence[FolderFile]) -> Iterator[Finding]:
    """Yield what the files are that are no live tool."""
    of = {kind: [file for file in files if file.kind is kind] for kind in FileKind}
    if unused := of[FileKind.NONE] + of[FileKind.IGNORED]:
        yield ok("folder", f"no tools, and never run: {few([file.file for file in unused])}; see: rollguard tools")
    for file in of[FileKind.BROKEN]:
        yield warning("tools", f"{file.file} is not served, and never was: {file.says}", "fix it, or move it away")
    for file in of[FileKind.UNKNOWN]:
        fix = f"deploy it, if it is a tool: rollguard deploy {settings.tools_dir / file.file}"
        yield warning("tools", f"{file.file} is not served: {file.says}", fix)


def _tool(
    folder: Folder,
    readings: Readings,
    store: ExecutionStore,
    name: str,
    live: Deployment,
    quarantined: set[tuple[str, str]],
    *,
    follows: bool,
) -> Iterator[Finding]:
    """Yield what is wrong with the file of a tool."""
    number = live.version_number
    put_back = f"put it back with: rollguard show {name} {number} --code | rollguard deploy - --tool {name}"
    try:
        code = folder.read(name)
    except ToolFileError as error:
        yield broken(
            "tools", f"{name}: {error}", f"move away what is in its place, or make it readable; then {put_back}"
        )
        return
    if code is None:
        yield broken("tools", f"{name}: version {number} is live, and its file is gone", put_back)
        return
    sha256 = digest(code)
    if (name, sha256) in quarantined:
        says = f"{name}: version {number} is live, and its file holds code that is in quarantine"
        yield broken("tools", says, f"{put_back}; or allow it with: rollguard deploy {folder.file(name)} --force")
    elif (held := store.versions.find(name, sha256)) is not None and held.version_number != number:
        says = f"{name}: version {number} is live, and its file holds version {held.version_number}"
        if follows:
            says += f"; processes that start serve version {number}"
            fix = "a process that serves the folder follows within a second, unless somebody changed the file since: "
            fix += "check its log and its right to write here"
            backup = f"to make version {held.version_number} live, deploy it: rollguard deploy {folder.file(name)}"
            yield broken("tools", says, f"{fix}; or, {backup}; or {put_back}")
        else:
            yield warning("tools", says, f"with follow = false that may be intended; if it is not, {put_back}")
    elif held is None:
        says = f"{name}: version {number} is live, and its file holds code that is no version yet: "
        says += "it was edited by hand, or the database is a restored backup"
        fix = f"its first call makes it live; or deploy it with: rollguard deploy {folder.file(name)}; or {put_back}"
        yield warning("tools", says, fix)
    why = _refusal(folder, readings, name, code, sha256)
    if why is not None:
        yield broken("tools", f"{name}: {folder.file(name)} is not served: {why}", f"fix the file; or {put_back}")


def _refusal(folder: Folder, readings: Readings, name: str, code: bytes, sha256: str) -> str | None:
    """Return why a file is not served, as far as that is known without running it."""
    check = LoadChecks(folder.path, writes=False).known(name, sha256)
    if check is not None:
        return None if check.loads else check.error
    form = readings.read(name, code, sha256).form
    return form.says if form.form in (Form.NONE, Form.BROKEN) else None
