"""Convert an annotation to the JSON Schema that pydantic would give, from its source, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from rollguard.compat.class_schema import shape_of
from rollguard.compat.model import Schema
from rollguard.compat.scope import Names, parsed

_TYPING = ("typing.", "typing_extensions.", "collections.abc.", "collections.")

_PLAIN: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "bytes": {"type": "string", "format": "binary"},
    "list": {"type": "array"},
    "tuple": {"type": "array"},
    "set": {"type": "array", "uniqueItems": True},
    "frozenset": {"type": "array", "uniqueItems": True},
    "dict": {"type": "object"},
    "object": {},
    "Any": {},
    "datetime.datetime": {"type": "string", "format": "date-time"},
    "datetime.date": {"type": "string", "format": "date"},
    "datetime.time": {"type": "string", "format": "time"},
    "datetime.timedelta": {"type": "string", "format": "duration"},
    "uuid.UUID": {"type": "string", "format": "uuid"},
    "pathlib.Path": {"type": "string", "format": "path"},
    "decimal.Decimal": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "pydantic.EmailStr": {"type": "string", "format": "email"},
    "pydantic.HttpUrl": {"type": "string", "format": "uri"},
    "pydantic.AnyUrl": {"type": "string", "format": "uri"},
    "pydantic.PositiveInt": {"type": "integer", "exclusiveMinimum": 0},
    "pydantic.NonNegativeInt": {"type": "integer", "minimum": 0},
    "pydantic.PositiveFloat": {"type": "number", "exclusiveMinimum": 0},
    "pydantic.NonNegativeFloat": {"type": "number", "minimum": 0},
}
_LISTS = {"list", "List", "Sequence", "MutableSequence", "Iterable", "Collection", "deque"}
_SETS = {"set", "Set", "frozenset", "FrozenSet", "MutableSet", "AbstractSet"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict"}
_TUPLES = {"tuple", "Tuple"}

# The JSON Schema keyword of each constraint of `Field(...)` and annotated_types, by the type of the value.
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_PLAIN_CONSTRAINTS = {"multiple_of": "multipleOf", "pattern": "pattern"}
_LENGTHS = {"min_length": "min", "max_length": "max", "min_items": "min", "max_items": "max"}
_LENGTH_OF = {"array": "Items", "object": "Properties"}
_METADATA = {"Ge": "ge", "Gt": "gt", "Le": "le", "Lt": "lt", "MinLen": "min_length", "MaxLen": "max_length"}
_FIELDS = {"pydantic.Field", "pydantic.fields.Field", "pydantic.types.StringConstraints", "pydantic.StringConstraints"}


def schema_of(annotation: ast.expr, names: Names, seen: frozenset[str] = frozenset()) -> Schema:
    """Return the schema of the values that the annotation accepts.

    Args:
        names: what the module's names stand for.
        seen: names being resolved, so that a recursive type ends.
    """
    match annotation:
        case ast.Constant(value=None):
            return _PLAIN["None"]
        case ast.Constant(value=str(text)):
            return _quoted(text, names, seen)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return union(schema_of(left, names, seen), schema_of(right, names, seen))
        case ast.Subscript(value=base, slice=inner):
            schema = _subscript(base, inner, names, seen)
            return _opaque(annotation) if schema is None else schema
        case ast.Name() | ast.Attribute():
            return _named(annotation, names, seen)
        case _:
            return _opaque(annotation)


def constrained(schema: Schema, metadata: ast.expr, names: Names) -> Schema:
    """Return the schema with the literal constraints of a `Field(...)` or of an annotated_types mark."""
    if not isinstance(metadata, ast.Call):
        return schema
    called = names.dotted(metadata.func) or ""
    if called in _FIELDS:
        constraints = {k.arg: k.value for k in metadata.keywords if k.arg is not None}
    elif called.startswith("annotated_types.") and called.rpartition(".")[2] in _METADATA and len(metadata.args) == 1:
        constraints = {_METADATA[called.rpartition(".")[2]]: metadata.args[0]}
    elif called.startswith("annotated_types."):
        constraints = {k.arg: k.value for k in metadata.keywords if k.arg is not None}
    else:
        return schema
    literal = {name: value for name, node in constraints.items() if (value := _literal(node)) is not None}
    return _with(schema, literal)


def field_default(default: ast.expr, names: Names) -> tuple[ast.expr | None, bool]:
    """Return the default, and whether the value is required, from a default that may be pydantic's `Field(...)`."""
    if not isinstance(default, ast.Call) or names.dotted(default.func) not in _FIELDS:
        return default, False
    given = {k.arg: k.value for k in default.keywords}
    value = default.args[0] if default.args else given.get("default", given.get("default_factory"))
    required = value is None or (isinstance(value, ast.Constant) and value.value is Ellipsis)
    return (None if required else value), required


def union(*schemas: Schema) -> Schema:
    """Return the schema of the values that any of the schemas accepts."""
    parts: list[Schema] = []
    for schema in schemas:
        for part in schema.get("anyOf", [schema]):
            if part not in parts:
                parts.append(part)
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _quoted(text: str, names: Names, seen: frozenset[str]) -> Schema:
    try:
        return schema_of(parsed(text.strip(), "eval").body, names, seen)
    except (SyntaxError, ValueError):
        return {"python": text}


def _named(annotation: ast.expr, names: Names, seen: frozenset[str]) -> Schema:
    dotted = names.dotted(annotation)
    found: Schema | None
    if dotted is None:
        return _opaque(annotation)
    if names.is_own(annotation):
        found = None if dotted in seen else _own(dotted, names, seen | {dotted})
    else:
        found = _PLAIN.get(dotted, _PLAIN.get(_bare(dotted)))
        found = _container(_bare(dotted), None, names, seen) if found is None else found
    return {"python": dotted} if found is None else found


def _own(name: str, names: Names, seen: frozenset[str]) -> Schema | None:
    """Return the schema of an alias or a class of this module."""
    if name in names.aliases:
        return schema_of(names.aliases[name], names, seen)
    return shape_of(names.classes[name], names, lambda node: schema_of(node, names, seen), _model_field)


def _subscript(base: ast.expr, inner: ast.expr, names: Names, seen: frozenset[str]) -> Schema | None:
    name = _bare(names.dotted(base) or "")
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    match name:
        case "Optional" | "Union":
            nothing = [_PLAIN["None"]] if name == "Optional" else []
            return union(*(schema_of(part, names, seen) for part in parts), *nothing)
        case "Literal":
            return _literals(parts, names)
        case "Annotated" | "Required" | "NotRequired" | "ReadOnly" | "Final" | "ClassVar":
            schema = schema_of(parts[0], names, seen)
            for metadata in parts[1:]:
                schema = constrained(schema, metadata, names)
            return schema
        case _:
            return _container(name, parts, names, seen)


def _container(name: str, parts: list[ast.expr] | None, names: Names, seen: frozenset[str]) -> Schema | None:
    """Return the schema of a list, set, dict or tuple; of any items if `parts` is None."""
    schemas = [schema_of(p, names, seen) for p in parts or () if not _is_ellipsis(p)]
    items = {"items": schemas[0]} if schemas and schemas[0] else {}
    if name in _LISTS:
        return {"type": "array", **items}
    if name in _SETS:
        return {"type": "array", "uniqueItems": True, **items}
    if name in _DICTS:
        return {"type": "object", **({"additionalProperties": schemas[1]} if len(schemas) > 1 and schemas[1] else {})}
    if name not in _TUPLES:
        return None
    if parts is None or len(parts) > len(schemas):  # tuple, or tuple[int, ...]
        return {"type": "array", **items}
    return {"type": "array", "prefixItems": schemas, "minItems": len(schemas), "maxItems": len(schemas)}


def _literals(parts: list[ast.expr], names: Names) -> Schema:
    values: list[Any] = []
    others: list[Schema] = []
    for part in parts:
        if isinstance(part, ast.Subscript):  # a Literal within a Literal
            nested = schema_of(part, names)
            values += nested.get("enum", [])
        elif isinstance(part, ast.Constant):
            if part.value is None:
                others.append(_PLAIN["None"])
            else:
                values.append(part.value)
        elif (member := names.enum_value(part)) is not None:
            values.append(member)
        elif (value := _literal(part)) is not None:  # -1 is not an `ast.Constant`
            values.append(value)
        else:
            others.append(_opaque(part))
    return union(*([{"enum": values}] if values else []), *others)


def _model_field(schema: Schema, default: ast.expr | None, names: Names) -> tuple[Schema, bool]:
    """Return the schema of a class's field with its default's constraints, and whether it is required."""
    if default is None:
        return schema, True
    _value, required = field_default(default, names)
    return constrained(schema, default, names), required


def _with(schema: Schema, constraints: Mapping[str, Any]) -> Schema:
    if "anyOf" in schema:
        return {"anyOf": [_with(part, constraints) for part in schema["anyOf"]]}
    return {**schema, **dict(_words(schema.get("type"), constraints))}


def _words(kind: object, constraints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the constraints that apply to values of that type, as JSON Schema keywords."""
    if kind == "null":
        return
    for name, value in constraints.items():
        if name in _BOUNDS and kind not in ("string", "array", "object", "boolean"):
            yield _BOUNDS[name], value
        elif name in _PLAIN_CONSTRAINTS:
            yield _PLAIN_CONSTRAINTS[name], value
        elif name in _LENGTHS:
            yield f"{_LENGTHS[name]}{_LENGTH_OF.get(str(kind), 'Length')}", value


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _bare(dotted: str) -> str:
    """Return `Optional` for `typing.Optional`; a name outside typing stays whole."""
    return next((dotted.removeprefix(p) for p in _TYPING if dotted.startswith(p)), dotted)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _opaque(annotation: ast.expr) -> Schema:
    return {"python": ast.unparse(annotation)}
