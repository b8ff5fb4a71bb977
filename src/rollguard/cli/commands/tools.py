"""`rollguard tools`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json

if TYPE_CHECKING:
    from rollguard.app import Rollguard


def tools(config: Config = None, as_json: Json = False) -> None:
    """List the tools: the live version, the description, and what is wrong with a file that cannot be used."""
    with opened(config, adopt=False) as guard:
        found = _tools(guard)
        folder = guard.registry.folder.path
    if as_json:
        output.emit_json(found)
        return
    rows = [(tool["name"], tool["live_version"], tool["description"] or None) for tool in found]
    broken = [f"{tool['name']}: {tool['problem']}" for tool in found if tool["problem"]]
    output.listing(
        ("Tool", "Live>", "Description~"), rows, nothing=f"There are no tools in {folder} yet. See: rollguard deploy"
    )
    if broken:
        output.lines("", "Problems")
        output.bullets(broken)


def _tools(guard: Rollguard) -> list[dict[str, Any]]:
    registry = guard.registry
    files, problems = registry.descriptions, registry.problems
    live = {pointer.tool_name: pointer for pointer in guard.store.pointers.moved_since(0)}
    found = []
    for name in sorted({*files, *problems, *live}):
        number = live[name].version_number if name in live else None
        problem, description = problems.get(name), None
        if name in files:
            sha256, description = files[name]
            if problem is None and number is not None and sha256 != live[name].sha256:
                problem = f"its file was edited by hand and is not version {number}; rollguard doctor says more"
        elif (actuator := registry.remote.of(name)) is not None:
            description = f"remote; a {actuator.kind} puts it in its place"
        elif problem is None:
            problem = "its file is gone; restore it with: rollguard deploy"
        first = str(description or "").strip().partition("\n")[0]
        found.append({"name": name, "live_version": number, "description": first, "problem": problem})
    return found
