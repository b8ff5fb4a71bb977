"""Read a file of code as an `Interface`. The rules for the tool's function are those of the registry."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from rollguard.compat.annotation_schema import constrained, field_default, schema_of
from rollguard.compat.marks import marked_for
from rollguard.compat.model import BY_POSITION, Function, Interface, Parameter, ParameterKind, Schema
from rollguard.compat.place import located
from rollguard.compat.scope import Definition, Names, parsed

_SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema")  # the names of OpenAI, Anthropic and MCP


def read(code: bytes | str, tool_name: str) -> Interface:
    """Return the interface of a file, without running it.

    Args:
        code: the whole file, or the text of a package.
        tool_name: the tool's name.

    Raises:
        SyntaxError, ValueError: the code is not Python.
        RecursionError, MemoryError: the code is nested too deeply.
    """
    source, wanted = located(code, tool_name)
    names = Names.of(module := parsed(source))
    marked = marked_for(wanted, names)
    found: ast.AST | None = marked[0] if len(marked) == 1 else target(wanted, names)
    classes = [c for c in names.classes.values() if is_tool_class(c, names)]
    if isinstance(found, ast.ClassDef) and found in classes:
        classes = [found]
    functions = dict(_functions(names))
    if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        tool = _function(found, found.name, names)
        return Interface(tool, None, {**functions, found.name: tool}, _classes(names))
    if isinstance(found, ast.Lambda):
        tool = Function(wanted, tuple(_parameters(found.args, names)), body=ast.dump(found.body))
        return Interface(tool, None, {**functions, wanted: tool}, _classes(names))
    if isinstance(found, ast.Call) and (called := called_by(found, names)) is not None:
        return Interface(called, None, {**functions, called.name: called}, _classes(names))
    if len(classes) == 1:
        methods = methods_of(classes[0], names)
        tool = _function(methods["execute"], f"{classes[0].name}.execute", names, method=True)
        definition = _definition(classes[0], methods["get_tool_definition"], names)
        return Interface(tool, definition, {**functions, tool.name: tool}, _classes(names))
    opaque = ast.dump(module) if wanted in names.aliases or wanted in names.imports else None
    return Interface(None, None, functions, _classes(names), opaque=opaque)


# --- what is offered -------------------------------------------------------------------------------------------------


def _functions(names: Names) -> Iterator[tuple[str, Function]]:
    public = _public(names)
    for name, node in names.functions.items():
        if public(name):
            yield name, _function(node, name, names)
    for name, cls in names.classes.items():
        if public(name):
            for method, node in methods_of(cls, names).items():
                if not method.startswith("_") or method in ("__init__", "__call__"):
                    yield f"{name}.{method}", _function(node, f"{name}.{method}", names, method=True)


def _classes(names: Names) -> dict[str, str]:
    public = _public(names)
    return {name: _fingerprint(cls, name) for name, cls in names.classes.items() if public(name)}


def _public(names: Names) -> Callable[[str], bool]:
    """Return a check for public names: those in `__all__`, else those without a leading underscore."""
    listed = names.aliases.get("__all__")
    try:
        exported = None if listed is None else set(ast.literal_eval(listed))
    except (ValueError, TypeError):
        exported = None
    return lambda name: name in exported if exported is not None else not name.startswith("_")


def target(name: str, names: Names) -> ast.AST | None:
    """Return the function, class, lambda or call that a name refers to, through plain assignments."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        found = names.functions.get(name) or names.classes.get(name)
        if found is not None:
            return found
        value = names.aliases.get(name)
        if not isinstance(value, ast.Name):
            return value if isinstance(value, ast.Lambda | ast.Call) else None
        name = value.id
    return None


def called_by(call: ast.Call, names: Names) -> Function | None:
    """Return the called function, if the tool is an instance of a class with `__call__` or a partial."""
    made = names.dotted(call.func) or ""
    if made in names.classes:
        methods = methods_of(names.classes[made], names)
        return _function(methods["__call__"], f"{made}.__call__", names, method=True) if "__call__" in methods else None
    inner = target(call.args[0].id, names) if call.args and isinstance(call.args[0], ast.Name) else None
    if made != "functools.partial" or not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if any(isinstance(arg, ast.Starred) for arg in call.args) or any(k.arg is None for k in call.keywords):
        return None
    whole = _function(inner, inner.name, names)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    by_position = [p.name for p in whole.parameters if p.kind in BY_POSITION][: len(call.args) - 1]
    left = [p for p in whole.parameters if p.name not in by_position]
    return replace(
        whole,
        parameters=tuple(replace(p, required=False, default=given[p.name]) if p.name in given else p for p in left),
    )


def is_tool_class(cls: ast.ClassDef, names: Names) -> bool:
    if names.bases(cls) & {"Protocol"}:
        return False
    methods = methods_of(cls, names)
    abstract = any("abstractmethod" in ast.unparse(mark) for m in methods.values() for mark in m.decorator_list)
    return not abstract and {"execute", "get_tool_definition"} <= set(methods)


def methods_of(
    cls: ast.ClassDef, names: Names, known: dict[str, dict[str, Definition]] | None = None
) -> dict[str, Definition]:
    """Return a class's methods, also those inherited from classes of the same file. Each class is read once."""
    known = {} if known is None else known
    if cls.name not in known:
        known[cls.name] = {}  # of a class that inherits from itself
        found: dict[str, Definition] = {}
        for base in reversed(cls.bases):
            parent = names.classes.get(names.dotted(base) or "")
            if parent is not None:
                found |= methods_of(parent, names, known)
        own = (s for s in cls.body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef))
        known[cls.name] = found | {s.name: s for s in own}
    return known[cls.name]


# --- one function ----------------------------------------------------------------------------------------------------


def _function(node: Definition, name: str, names: Names, *, method: bool = False) -> Function:
    parameters = list(_parameters(node.args, names))
    static = any(names.dotted(mark) == "staticmethod" for mark in node.decorator_list)
    if method and not static and parameters and parameters[0].kind in ("positional-only", "positional or keyword"):
        parameters = parameters[1:]  # self
    return Function(
        name=name,
        parameters=tuple(parameters),
        is_async=isinstance(node, ast.AsyncFunctionDef),
        result=None if node.returns is None else schema_of(node.returns, names),
        result_annotation=None if node.returns is None else _source(node.returns),
        body=_fingerprint(node, node.name),
    )


def _parameters(args: ast.arguments, names: Names) -> Iterator[Parameter]:
    by_position = [*args.posonlyargs, *args.args]
    missing = len(by_position) - len(args.defaults)
    for index, arg in enumerate(by_position):
        kind = ParameterKind.POSITIONAL_ONLY if index < len(args.posonlyargs) else ParameterKind.EITHER
        yield _parameter(arg, kind, args.defaults[index - missing] if index >= missing else None, names)
    if args.vararg is not None:
        yield _parameter(args.vararg, ParameterKind.VAR_POSITIONAL, None, names)
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _parameter(arg, ParameterKind.KEYWORD_ONLY, default, names)
    if args.kwarg is not None:
        yield _parameter(args.kwarg, ParameterKind.VAR_KEYWORD, None, names)


def _parameter(arg: ast.arg, kind: ParameterKind, default: ast.expr | None, names: Names) -> Parameter:
    variadic = kind in (ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD)
    schema = None if arg.annotation is None else schema_of(arg.annotation, names)
    required = default is None and not variadic
    if default is not None:
        if schema is not None:
            schema = constrained(schema, default, names)
        default, required = field_default(default, names)
    return Parameter(
        name=arg.arg,
        kind=kind,
        required=required,
        schema=schema,
        annotation=None if arg.annotation is None else _source(arg.annotation),
        default=None if default is None else ast.unparse(default),
    )


def _source(annotation: ast.expr) -> str:
    """Return an annotation's source, without quotes around it."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.unparse(parsed(annotation.value.strip(), "eval"))
        except (SyntaxError, ValueError):
            return annotation.value
    return ast.unparse(annotation)


def _fingerprint(node: Definition | ast.ClassDef, own_name: str) -> str:
    """Return a definition's dump without its name, docstring and line numbers."""
    try:
        return "".join(_told(node, own_name))
    except RecursionError:  # such as a sum of a thousand terms: it equals only itself
        return own_name


def _told(node: Any, own_name: str) -> Iterator[str]:
    if isinstance(node, list):
        yield "["
        for item in node:
            yield from _told(item, own_name)
        yield "]"
    elif isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                value = _undocumented(node.body)
            # A recursive function calls itself by its own name.
            yield from _told("" if name in ("id", "name") and value == own_name else value, own_name)
        yield ")"
    else:
        yield f"{node!r},"


def _undocumented(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
    return body


# --- a tool class's own definition -----------------------------------------------------------------------------------


def _definition(cls: ast.ClassDef, method: Definition, names: Names) -> Schema | None:
    """Return the schema of the parameters that `get_tool_definition` returns, if it is literal."""
    returned = [node.value for node in returns_of(method.body)]
    if len(returned) != 1 or returned[0] is None:
        return None
    value = literal(returned[0], cls, method, names)
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return None
    schema = next((value[key] for key in _SCHEMA_KEYS if isinstance(value.get(key), dict)), None)
    return schema if schema is None or all(isinstance(key, str) for key in schema) else None


def literal(node: ast.expr, cls: ast.ClassDef, method: Definition, names: Names) -> Any:
    """Return a literal, also one assigned to a name in the method, the class or the module."""
    if isinstance(node, ast.Name):
        found = _assigned(method.body, node.id) or names.aliases.get(node.id)
        return None if found is None else _evaluated(found)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        found = _assigned(cls.body, node.attr)
        return None if found is None else _evaluated(found)
    return _evaluated(node)


def _evaluated(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _assigned(body: Iterable[ast.stmt], name: str) -> ast.expr | None:
    found = None
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found = value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                found = value
            case _:
                pass
    return found


def returns_of(body: Iterable[ast.AST]) -> Iterator[ast.Return]:
    """Return the return statements of a function, without those of inner functions."""
    for node in body:
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from returns_of(ast.iter_child_nodes(node))
