"""The JSON Schema of a class of the same module: an enum, a dataclass, a TypedDict or a pydantic model."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from rollguard.compat.model import Schema
from rollguard.compat.scope import Names

_ENUMS = {"Enum", "StrEnum", "IntEnum", "Flag", "IntFlag"}
_MODELS = {"BaseModel", "TypedDict", "NamedTuple"}
FieldOf = Callable[[Schema, ast.expr | None, Names], tuple[Schema, bool]]


def shape_of(
    cls: ast.ClassDef, names: Names, schema_of: Callable[[ast.expr], Schema], field_of: FieldOf
) -> Schema | None:
    """Return the JSON Schema of the class's values; None if the source does not show it.

    Args:
        schema_of: returns the schema of an annotation.
        field_of: returns a field's schema with the constraints of its default, and whether it is required.
    """
    bases = names.bases(cls)
    if bases & _ENUMS:
        return {"enum": list(names.members(cls).values())}
    if not bases & _MODELS and not _is_dataclass(cls, names):
        return None
    properties: dict[str, Any] = {}
    required: list[str] = []
    for base in reversed(_own_bases(cls, names)):
        inherited = shape_of(base, names, schema_of, field_of)
        if inherited is not None and "properties" in inherited:
            properties |= inherited["properties"]
            required += inherited.get("required", [])
    for name, annotation, default in _fields(cls):
        schema, must = field_of(schema_of(annotation), default, names)
        if "TypedDict" in bases:
            must = _must(cls, annotation, names)
        properties[name] = schema
        required = [r for r in required if r != name] + ([name] if must else [])
    shape: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        shape["required"] = required
    if _forbids_more(cls):
        shape["additionalProperties"] = False
    return shape


def _fields(cls: ast.ClassDef) -> list[tuple[str, ast.expr, ast.expr | None]]:
    return [
        (statement.target.id, statement.annotation, statement.value)
        for statement in cls.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id != "model_config"
        and "ClassVar" not in ast.unparse(statement.annotation)
    ]


def _own_bases(cls: ast.ClassDef, names: Names) -> list[ast.ClassDef]:
    found = [names.classes.get(names.dotted(base) or "") for base in cls.bases]
    return [base for base in found if base is not None and base is not cls]


def _is_dataclass(cls: ast.ClassDef, names: Names) -> bool:
    marks = [mark.func if isinstance(mark, ast.Call) else mark for mark in cls.decorator_list]
    return any((names.dotted(mark) or "").rpartition(".")[2] == "dataclass" for mark in marks)


def _must(cls: ast.ClassDef, annotation: ast.expr, names: Names) -> bool:
    """Return whether a key of a TypedDict is required."""
    base = names.dotted(annotation.value) if isinstance(annotation, ast.Subscript) else None
    last = (base or "").rpartition(".")[2]
    if last in ("Required", "NotRequired"):
        return last == "Required"
    total = next((k.value for k in cls.keywords if k.arg == "total"), None)
    return not (isinstance(total, ast.Constant) and total.value is False)


def _forbids_more(cls: ast.ClassDef) -> bool:
    """Return whether a pydantic model has `extra="forbid"`."""
    configs = [s.value for s in cls.body if isinstance(s, ast.Assign) and "model_config" in ast.unparse(s.targets[0])]
    text = " ".join([*(ast.unparse(c) for c in configs), *(f"{k.arg}={ast.unparse(k.value)}" for k in cls.keywords)])
    return "extra='forbid'" in text or "'extra': 'forbid'" in text
