"""`rollguard tools`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.errors import ToolLoadError

if TYPE_CHECKING:
    from rollguard.app import Rollguard


def tools(config: Config = None, as_json: Json = False) -> None:
    """List the tools: the live version, the description, and what is wrong with a file that cannot be used."""
    with opened(config, adopt=False) as guard, output.tools_print_to_stderr():
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
    loaded = guard.registry.get_all_tools()
    live = guard.store.versions.live_of_all()
    problems = guard.registry.problems
    found = []
    for name in sorted({*loaded, *problems, *live}):
        number = live[name].version_number if name in live else None
        problem, description = problems.get(name), None
        if name in loaded:
            try:
                description = guard.registry.get_tool_definition(name).get("description")
            except ToolLoadError as error:
                problem = str(error)
            if number is not None and loaded[name].sha256 != guard.store.versions.get(name, number).sha256:
                problem = f"its file was edited by hand and is not version {number}; deploy it to have it monitored"
        elif (actuator := guard.registry.remote.of(name)) is not None:
            description = f"remote; a {actuator.kind} puts it in its place"
        elif problem is None:
            problem = "its file is gone; restore it with: rollguard deploy"
        first = str(description or "").strip().partition("\n")[0]
        found.append({"name": name, "live_version": number, "description": first, "problem": problem})
    return found
