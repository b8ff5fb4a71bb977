"""Find in a syntax tree what is marked `@tool`."""

from __future__ import annotations

import ast

from rollguard.compat.scope import Definition, Names

MARKS = {"rollguard.tool", "rollguard.registry.tool", "rollguard.record.decorator.tool"}


def is_marked(node: Definition | ast.ClassDef, names: Names) -> bool:
    """Return whether a function or class is marked."""
    marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in node.decorator_list]
    return any(names.dotted(mark) in MARKS for mark in marks)


def marked_for(wanted: str, names: Names) -> list[Definition | ast.ClassDef]:
    """Return what is marked in a module; of several, only the one of that name, if it is among them."""
    marked = [d for d in (*names.functions.values(), *names.classes.values()) if is_marked(d, names)]
    named = [d for d in marked if d.name == wanted]
    return named if len(marked) > 1 and named else marked
