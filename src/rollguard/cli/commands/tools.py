"""`rollguard tools`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollguard.cli import output
from rollguard.cli.folder_files import FileKind, files_of, unused_sections
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.cli.folder_files import FolderFile


def tools(config: Config = None, as_json: Json = False) -> None:
    """List the tools: the live version, the description, and what each other file of the folder is. No file is run."""
    with opened(config, adopt=False) as guard:
        found, folder = (
            _tools(guard, files_of(guard.registry.folder, guard.registry.readings)),
            guard.registry.folder.path,
        )
        known = {tool["name"] for tool in found} | set(guard.store.executions.tool_names())
        unused = list(unused_sections(guard.settings, known))
    if as_json:
        output.emit_json(found)
        return
    others = (FileKind.NONE, FileKind.IGNORED)
    rows = [
        (tool["name"], tool["live_version"], tool["description"] or None)
        for tool in found
        if tool["live_version"] is not None or tool["is"] not in others
    ]
    broken = [f"{tool['name']}: {tool['problem']}" for tool in found if tool["problem"] and tool["is"] not in others]
    rest = [f"{tool['file']}: {tool['problem']}" for tool in found if tool["is"] in others]
    output.listing(
        ("Tool", "Live>", "Description~"), rows, nothing=f"There are no tools in {folder} yet. See: rollguard deploy"
    )
    for title, lines in (("Problems", [*broken, *unused]), ("No tools, and never run", rest)):
        if lines:
            output.lines("", title)
            output.bullets(lines)


def _tools(guard: Rollguard, files: list[FolderFile]) -> list[dict[str, Any]]:
    registry = guard.registry
    descriptions, problems = registry.descriptions, registry.problems
    live = {pointer.tool_name: pointer for pointer in guard.store.pointers.moved_since(0)}
    entries = {file.name: file for file in files}
    found = []
    for name in sorted({*entries, *live}):
        number, entry = live[name].version_number if name in live else None, entries.get(name)
        problem, description = problems.get(name), None
        if name in descriptions:
            sha256, description = descriptions[name]
            if problem is None and number is not None and sha256 != live[name].sha256:
                problem = f"its file was edited by hand and is not version {number}; rollguard doctor says more"
            elif problem is None and entry is not None and entry.kind is FileKind.BROKEN:
                problem = entry.says
        elif entry is not None and number is None:
            problem = entry.says or problem
        elif (actuator := registry.remote.of(name)) is not None:
            description = f"remote; a {actuator.kind} puts it in its place"
        elif problem is None:
            problem = "its file is gone; restore it with: rollguard deploy"
        found.append(
            {
                "name": name,
                "file": None if entry is None else entry.file,
                "is": FileKind.TOOL if entry is None else entry.kind,
                "live_version": number,
                "description": str(description or "").strip().partition("\n")[0],
                "problem": problem,
            }
        )
    return found
