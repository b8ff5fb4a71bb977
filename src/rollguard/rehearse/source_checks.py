"""Check a candidate's source beside the live one: what it takes from callers, its size, its imports. Pure."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

from rollguard.compat import Form, changes, form_of, read
from rollguard.compat.place import place_of, whole_tree
from rollguard.rehearse.reach import new_chance, new_reach, new_state
from rollguard.rehearse.reason import Reason, ask, refuse
from rollguard.rehearse.rules import RehearsalRules


def source_reasons(old: bytes, new: bytes, tool_name: str, rules: RehearsalRules) -> list[Reason]:
    """Return why the candidate's source does not pass; if it does not parse, only that."""
    form = form_of(new, tool_name)
    if form.form is not Form.TOOL:
        return [refuse("parses", f"the candidate {form.says}")]
    return [
        *_interface(old, new, tool_name),
        *_size(old, new, rules),
        *_uses(old, new, place_of(new, tool_name).unit, rules),
    ]


def _interface(old: bytes, new: bytes, tool_name: str) -> Iterator[Reason]:
    before, after = read(old, tool_name).tool, read(new, tool_name).tool
    if before is not None and after is not None and before.name != after.name:
        yield refuse("name", f"the tool's function is called {after.name}, and was {before.name}")
    for change in changes(old, new, tool_name):
        if change.breaking:
            yield refuse("compatible", f"callers would break: {change.sentence}")


def _size(old: bytes, new: bytes, rules: RehearsalRules) -> Iterator[Reason]:
    before, after = (source.decode("utf-8", "replace").splitlines() for source in (old, new))
    changed = sum(line[0] in "+-" for line in difflib.ndiff(before, after) if line[:2] in ("+ ", "- "))
    if changed > rules.max_changed_lines:
        yield refuse("size", f"it changes {changed} lines, and max_changed_lines allows {rules.max_changed_lines}")


def _uses(old: bytes, new: bytes, unit: str, rules: RehearsalRules) -> Iterator[Reason]:
    before, after = whole_tree(old), whole_tree(new)
    known, imported = _imports(before), _imports(after)
    forbidden = sorted(
        name for name in imported - known if any(_within(name, module) for module in rules.forbidden_imports)
    )
    if forbidden:
        yield refuse("imports", f"it imports {', '.join(forbidden)}, which forbidden_imports names")
    if (outside := new_reach(before, after, unit)) and not forbidden:
        yield ask("imports", f"it uses {', '.join(outside)}, which the live version does not")
    if chance := new_chance(before, after):
        yield ask("chance", f"it asks the clock or chance ({', '.join(chance)}), so that later calls may end otherwise")
    if state := new_state(before, after):
        yield ask(
            "state", f"it keeps something between calls ({', '.join(state)}), so that later calls may end otherwise"
        )
    for text in sorted(texts(after) - texts(before)):
        if any(text.startswith(path) for path in rules.forbidden_paths):
            yield refuse("paths", f"it names {text!r}, which forbidden_paths covers")


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _imports(module: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def texts(module: ast.AST) -> set[str]:
    """Return the texts that a source holds as constants."""
    return {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
