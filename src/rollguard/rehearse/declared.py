"""Read from a tool's source what it declares about itself, and choose the strategy that is safe. Runs no tool."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from rollguard.compat import is_package, read
from rollguard.compat.extract import is_tool_class, literal, methods_of, returns_of, target
from rollguard.compat.marks import MARKS, marked_for
from rollguard.compat.place import located
from rollguard.compat.scope import Names, parsed
from rollguard.rehearse.rules import RehearsalRules

_KEYS = ("read_only", "idempotent", "side_effects", "requires")
_MARKED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Strategy(StrEnum):
    """How a candidate is rehearsed."""

    SHADOW = "shadow"
    REPLAY = "replay"
    SYNTHETIC = "synthetic"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Characteristics:
    """What a tool declares. None is unknown, and unknown side effects are not safe.

    Attributes:
        read_only: whether it changes nothing.
        idempotent: whether a repeated call changes nothing more.
        side_effects: what it changes.
        requires: the variables of the environment and the hosts that it needs; a host contains a dot or a colon.
        safe_for_shadow_testing, requires_mocking, test_data_available: as a tool class says them.
        test_cases: what `get_test_cases` returns, if it is literal.
        test_cases_of: the class whose `get_test_cases` only running it tells.
        destructive: what an MCP annotation says; it counts only to refuse.
    """

    read_only: bool | None = None
    idempotent: bool | None = None
    side_effects: tuple[str, ...] | None = None
    requires: tuple[str, ...] = ()
    safe_for_shadow_testing: bool | None = None
    requires_mocking: bool | None = None
    test_data_available: bool | None = None
    test_cases: tuple[dict[str, Any], ...] = ()
    test_cases_of: str | None = None
    destructive: bool | None = None

    def with_rules(self, rules: RehearsalRules) -> Characteristics:
        """Return these with what the settings say; the settings take precedence."""
        said = {name: getattr(rules, name) for name in ("read_only", "idempotent", "side_effects")}
        return replace(self, **{name: value for name, value in said.items() if value is not None})

    def limited_by(self, other: Characteristics) -> Characteristics:
        """Return these as far as a candidate does not contradict them: what it declares counts only to refuse."""
        effects = self.side_effects
        if other.side_effects:
            effects = tuple(dict.fromkeys((*(effects or ()), *other.side_effects)))
        return replace(
            self,
            read_only=self.read_only if other.read_only is not False else False,
            idempotent=self.idempotent if other.idempotent is not False else False,
            side_effects=effects,
            requires=tuple(dict.fromkeys((*self.requires, *other.requires))),
            safe_for_shadow_testing=False if other.safe_for_shadow_testing is False else self.safe_for_shadow_testing,
            requires_mocking=True if other.requires_mocking else self.requires_mocking,
            destructive=True if other.destructive else self.destructive,
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the variables of the environment that it needs."""
        return tuple(name for name in self.requires if not _is_host(name))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the hosts that it needs."""
        return tuple(name for name in self.requires if _is_host(name))


def strategy_of(tool: Characteristics, grants: Collection[str] = ()) -> tuple[Strategy, str]:
    """Return how a tool is rehearsed, and why."""
    missing = [name for name in tool.requires if name not in grants]
    if missing:
        return Strategy.MANUAL, f"it needs {', '.join(missing)}, which the settings do not grant"
    why_not = _not_to_be_run(tool)
    if why_not is None and not tool.side_effects and (tool.read_only or tool.side_effects is not None):
        return Strategy.SHADOW, "it changes nothing"
    if why_not is None and tool.idempotent:
        return Strategy.REPLAY, "a repeated call changes nothing more"
    if why_not is None:
        why_not = "its side effects are unknown" if tool.side_effects is None else "a repeated call changes something"
    if (tool.test_cases or tool.test_cases_of) and not tool.destructive:
        return Strategy.SYNTHETIC, f"{why_not}, and it declares test cases"
    return Strategy.MANUAL, why_not


def _not_to_be_run(tool: Characteristics) -> str | None:
    if tool.destructive:
        return "it is declared as destructive"
    if tool.requires_mocking:
        return "it is declared as one that requires mocking"
    if tool.safe_for_shadow_testing is False and not tool.idempotent:
        return "it is declared as not safe for shadow testing"
    if tool.read_only is False and tool.side_effects == () and not tool.idempotent:
        return "it is declared as one that changes something"
    return None


def not_recorded(source: bytes, tool_name: str) -> list[str]:
    """Return the parameters that the tool's `@tool` leaves out of what is recorded.

    Raises:
        SyntaxError, ValueError: it is not Python.
    """
    names, found = _definition(source, tool_name)
    said = dict(_mark_says(found, names, ("record", "skip"))) if isinstance(found, _MARKED) else {}
    record, skip = _names(said.get("record")), _names(said.get("skip")) or ()
    tool = read(source, tool_name).tool
    names_of = [one.name for one in tool.parameters] if tool else []
    return [name for name in names_of if name in skip or (record is not None and name not in record)]


# --- from the source -------------------------------------------------------------------------------------------------


def declared(source: bytes, tool_name: str) -> Characteristics:
    """Return what a tool's source declares literally.

    Raises:
        SyntaxError, ValueError: it is not Python.
    """
    names, found = _definition(source, tool_name)
    said: dict[str, Any] = {}
    cls = found if isinstance(found, ast.ClassDef) else None
    if cls is None and not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        cls = next((each for each in names.classes.values() if is_tool_class(each, names)), None)
    if cls is not None:
        said |= _class_says(cls, names)
    if is_package(source):  # what only running it tells is asked of files alone
        said.pop("test_cases_of", None)
    if isinstance(found, _MARKED):
        said |= dict(_mark_says(found, names, _KEYS))
    return _characteristics(said | said.pop("hints", {}))


def _definition(source: bytes, tool_name: str) -> tuple[Names, ast.AST | None]:
    """Return the names of the module that defines a tool, and the tool's function or class."""
    module, wanted = located(source, tool_name)
    names = Names.of(parsed(module))
    found: ast.AST | None = next(iter(marked_for(wanted, names)), None)
    return names, found or target(wanted, names)


def _mark_says(definition: Any, names: Names, keys: Collection[str]) -> Iterator[tuple[str, Any]]:
    for mark in definition.decorator_list:
        if isinstance(mark, ast.Call) and names.dotted(mark.func) in MARKS:
            for keyword in mark.keywords:
                if keyword.arg is not None and keyword.arg in keys:
                    yield keyword.arg, _literal(keyword.value)


def _class_says(cls: ast.ClassDef, names: Names) -> dict[str, Any]:
    methods = methods_of(cls, names)
    returned: dict[str, Any] = {}
    for name in ("get_tool_characteristics", "get_test_cases", "get_tool_definition"):
        if name in methods:
            results = [node.value for node in returns_of(methods[name].body)]
            value = results[0] if len(results) == 1 else None
            returned[name] = None if value is None else literal(value, cls, methods[name], names)
    said = returned.get("get_tool_characteristics")
    said = dict(said) if isinstance(said, dict) else {}
    cases = returned.get("get_test_cases")
    if isinstance(cases, list):
        said["test_cases"] = cases
    elif "get_test_cases" in returned:
        said["test_cases_of"] = cls.name
    definition = returned.get("get_tool_definition")
    hints = definition.get("annotations") if isinstance(definition, dict) else None
    return said | {"hints": _hinted(hints) if isinstance(hints, dict) else {}}


def _hinted(hints: dict[str, Any]) -> dict[str, Any]:
    """Return what MCP annotations say against running a tool; what they say for it is not believed."""
    said: dict[str, Any] = {}
    if hints.get("readOnlyHint") is False:
        said["read_only"] = False
    if hints.get("idempotentHint") is False:
        said["idempotent"] = False
    if hints.get("destructiveHint") is True:
        said["destructive"] = True
    return said


def _characteristics(said: dict[str, Any]) -> Characteristics:
    flags = ("read_only", "idempotent", "safe_for_shadow_testing", "requires_mocking", "test_data_available")
    cases = said.get("test_cases") or ()
    return Characteristics(
        **{name: said[name] for name in (*flags, "destructive") if isinstance(said.get(name), bool)},
        side_effects=_names(said.get("side_effects")),
        requires=_names(said.get("requires")) or (),
        test_cases=tuple(case for case in cases if isinstance(case, dict) and isinstance(case.get("input"), dict)),
        test_cases_of=said.get("test_cases_of"),
    )


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, bool):  # of a class that only says whether it has any
        return () if value is False else ("declared",)
    if isinstance(value, list | tuple | set) and all(isinstance(name, str) for name in value):
        return tuple(value)
    return None


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_host(name: str) -> bool:
    return "." in name or ":" in name
