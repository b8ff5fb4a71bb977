"""What `rollguard doctor` finds of the tools: their files, the sections of the settings, and remote targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollguard.cli.findings import Finding, broken, few, ok, warning
from rollguard.cli.folder_files import FileKind, FolderFile, files_of, unused_sections
from rollguard.cli.held_back import held_back, live_in_folder
from rollguard.cli.opening import importable
from rollguard.registry import Folder
from rollguard.registry.folder.swap_journal import entries_in
from rollguard.settings import Settings
from rollguard.store import ExecutionStore

_FIX = "install what it needs, or deploy a version that loads; what this machine loaded before goes on serving"


def tools(settings: Settings, store: ExecutionStore) -> Iterator[Finding]:
    """Yield what is wrong with the tools of the folder, and what the other files are."""
    if not settings.tools_dir.is_dir():
        return
    folder, live = Folder(settings.tools_dir), live_in_folder(settings, store)
    wrong = list(held_back(settings, store))
    yield from wrong
    with importable(settings):
        files = files_of(folder)
    others = [file for file in files if file.name not in live]
    for file in files:
        known = any(file.name in finding.says for finding in wrong)
        if file.name in live and file.kind is FileKind.BROKEN and not known:
            wrong.append(warning("tools", f"{file.file} does not load on this machine: {file.says}", _FIX))
            yield wrong[-1]
    yield from _other_files(settings, others)
    for says in unused_sections(settings, {*live, *(file.name for file in others), *store.executions.tool_names()}):
        yield warning("settings", says, "correct the name, or remove the section")
    cut_short = sorted({entry.tool_name for entry in entries_in(settings.tools_dir)})
    if cut_short:
        says = f"a swap of a file is under way, or was cut short: {', '.join(cut_short)}"
        yield warning("tools", says, "rollguard watch completes or undoes it, and so does the next process that starts")
    if not wrong and not cut_short:
        are = "tool is" if len(live) == 1 else "tools are"
        yield ok("tools", f"{len(live):,} {are} in the folder as recorded")
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
