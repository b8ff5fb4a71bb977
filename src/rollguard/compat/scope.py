"""Resolve the names of a module from its source."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef
_LOOKED_INTO = (ast.If, ast.Try, ast.TryStar, ast.With, ast.For, ast.While)


_TRIES = 20


def function_name(tool_name: str) -> str:
    """Return the name of the function that is a file's tool if none is marked.

    It is the tool's name. `_` stands for what a name of Python cannot have, before a digit at its beginning, and after
    a word that Python keeps: `git_status` for `git.status`, `_3d` for `3d`, `import_` for `import`.
    """
    name = re.sub(r"[^A-Za-z0-9_]", "_", tool_name)
    return f"{name}_" if keyword.iskeyword(name) else f"_{name}" if name[:1].isdigit() else name


def parsed(source: bytes | str, mode: str = "exec") -> Any:
    """Return the syntax tree of a source, whatever other threads parse at this moment.

    Raises:
        SyntaxError, ValueError: it is not Python.
        RecursionError, MemoryError: it is nested too deeply.

    References:
        https://github.com/python/cpython/issues/106905: before 3.11.8 two threads that parse disturb each other.
    """
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(source, mode=mode)
        except SystemError:
            continue
    return ast.parse(source, mode=mode)


@dataclass(frozen=True, slots=True)
class Names:
    """A module's imports, plain assignments, classes and functions by name; the last one of each name."""

    imports: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    functions: dict[str, Definition] = field(default_factory=dict)

    @classmethod
    def of(cls, module: ast.Module) -> Names:
        """Return the names of a module."""
        names = cls()
        for statement in _statements(module.body):
            names._note(statement)
        return names

    def dotted(self, node: ast.expr) -> str | None:
        """Return the full name, such as `typing.Literal` for an alias of it; None if the node is not a name."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return None if base is None else f"{base}.{node.attr}"
        return None

    def is_own(self, node: ast.expr) -> bool:
        """Return whether the module itself defines the name."""
        return isinstance(node, ast.Name) and (node.id in self.aliases or node.id in self.classes)

    def enum_value(self, node: ast.expr) -> Any:
        """Return the value of a member such as `Colour.RED` of an enum in the module; else None."""
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None
        cls = self.classes.get(node.value.id)
        return None if cls is None else self.members(cls).get(node.attr)

    def members(self, cls: ast.ClassDef) -> dict[str, Any]:
        """Return the members of an enum; a value that is not literal is given as `Class.MEMBER`."""
        found: dict[str, Any] = {}
        for statement in cls.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                if not name.startswith("_"):
                    found[name] = self._member(cls, name, statement.value, len(found) + 1)
        return found

    def bases(self, cls: ast.ClassDef) -> set[str]:
        """Return the last parts of the names of all base classes that the module shows."""
        found: set[str] = set()
        waiting = list(cls.bases)
        while waiting:
            node = waiting.pop()
            dotted = self.dotted(node) or ""
            last = dotted.rpartition(".")[2]
            if last and last not in found:
                found.add(last)
                if dotted in self.classes:
                    waiting += self.classes[dotted].bases
        return found

    def _member(self, cls: ast.ClassDef, name: str, value: ast.expr, position: int) -> Any:
        if isinstance(value, ast.Call) and (self.dotted(value.func) or "").rpartition(".")[2] == "auto":
            return name.lower() if "StrEnum" in self.bases(cls) else position
        try:
            return ast.literal_eval(value)
        except (ValueError, TypeError):
            return f"{cls.name}.{name}"

    def _note(self, statement: ast.stmt) -> None:
        match statement:
            case ast.Import(names=imported):
                for name in imported:
                    self.imports[name.asname or name.name.partition(".")[0]] = (
                        name.name if name.asname else name.name.partition(".")[0]
                    )
            case ast.ImportFrom(module=str(module), names=imported):
                for name in imported:
                    self.imports[name.asname or name.name] = f"{module}.{name.name}"
            case ast.ClassDef():
                self._forget(statement.name)
                self.classes[statement.name] = statement
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._forget(statement.name)
                self.functions[statement.name] = statement
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._forget(name)
                self.aliases[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                self._forget(name)
                self.aliases[name] = value
            case _ if type(statement).__name__ == "TypeAlias":  # `type X = ...`, since Python 3.12
                alias: Any = statement  # Python 3.11 does not have this class
                self._forget(alias.name.id)
                self.aliases[alias.name.id] = alias.value
            case _:
                pass

    def _forget(self, name: str) -> None:
        kept: dict[str, Any]
        for kept in (self.imports, self.aliases, self.classes, self.functions):
            kept.pop(name, None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Return the statements that run with the module, including those under `if` and `try`."""
    for statement in body:
        yield statement
        if isinstance(statement, _LOOKED_INTO):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, part, []):
                    yield from _statements(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])
