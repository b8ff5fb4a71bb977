"""Tell from a file's syntax tree whether it holds a tool, without running it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import StrEnum

from rollguard.compat.extract import called_by, is_tool_class, literal, methods_of, returns_of, target
from rollguard.compat.marks import MARKS, is_marked, marked_for
from rollguard.compat.place import LARGEST, located
from rollguard.compat.scope import Definition, Names, parsed

_METHODS = {"execute", "get_tool_definition"}
_DYNAMIC = {"eval", "exec", "globals", "locals", "setattr", "vars"}
_CALLABLE = {"functools.partial", "functools.lru_cache", "functools.cache"}


class Form(StrEnum):
    """What a file's syntax tree tells about its tool."""

    TOOL = "tool"
    NONE = "none"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FileForm:
    """What a file is.

    Attributes:
        form: `tool`: it holds one; `none`: it holds none; `broken`: no tool can be loaded from it; `unknown`: only
            running it tells.
        says: why it is no tool for sure; empty for a tool.
        description: the tool's description, if the source has it literally.
        own_definition: whether the tool is a class, which defines itself when it runs.
    """

    form: Form
    says: str = ""
    description: str | None = None
    own_definition: bool = False


def form_of(code: bytes, tool_name: str) -> FileForm:
    """Return what a file is, by the registry's rules for tools. Raises nothing, whatever the file holds."""
    try:
        given, wanted = located(code, tool_name)
        source = given if isinstance(given, bytes) else given.encode()
        if len(source) > LARGEST:
            return too_large(len(source))
        if not _may_hold_a_tool(source, wanted):
            return FileForm(Form.NONE, _no_tool(wanted))
        module = parsed(source)
        return _form(module, wanted)
    except (SyntaxError, ValueError) as error:
        return FileForm(Form.BROKEN, f"cannot be loaded: {type(error).__name__}: {error}")
    except (RecursionError, MemoryError):
        return FileForm(Form.UNKNOWN, "is nested too deeply to be read")


def too_large(size: int) -> FileForm:
    """Return the form of a file that is not parsed because of its size."""
    return FileForm(Form.UNKNOWN, f"has {size:,} bytes, and at most {LARGEST:,} are read")


def _may_hold_a_tool(code: bytes, wanted: str) -> bool:
    """Return whether the bytes contain what a tool needs; a search for words takes a thousandth of a parse."""
    if not code.isascii() or b"coding" in code[:1000]:  # an identifier may be written in several ways
        return True
    return any(word in code for word in (wanted.encode(), b"tool", b"execute", b"import *", b"exec", b"globals"))


def _no_tool(wanted: str) -> str:
    return (
        f"no tool in it; it needs a function named {wanted}, one marked @tool, "
        "or a class with execute and get_tool_definition"
    )


def _form(module: ast.Module, wanted: str) -> FileForm:
    names = Names.of(module)
    marked = marked_for(wanted, names)
    classes = [cls for cls in names.classes.values() if is_tool_class(cls, names)]
    found = marked[0] if marked else target(wanted, names)
    if isinstance(found, ast.ClassDef) and found in classes:
        classes = [found]
    if len(marked) < 2 and (tool := _tool(found, classes, names)) is not None:
        return tool
    if _only_running_tells(module, names, wanted):
        return FileForm(Form.UNKNOWN, "may hold a tool, which only running it tells")
    if len(marked) > 1:
        several = ", ".join(d.name for d in marked)
        return FileForm(Form.BROKEN, f"{several} are all marked @tool, and none of them is {wanted}")
    if marked:
        return FileForm(Form.BROKEN, f"{marked[0].name} is marked @tool but has no execute and get_tool_definition")
    if classes:
        return FileForm(Form.BROKEN, _no_tool(wanted).replace("no tool", "several tool classes", 1))
    return FileForm(Form.NONE, _no_tool(wanted))


def _tool(found: ast.AST | None, classes: list[ast.ClassDef], names: Names) -> FileForm | None:
    """Return the form of a file whose tree shows its tool: what the name or the mark finds, else the only class."""
    if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return FileForm(Form.TOOL, description=_description(found, names))
    if isinstance(found, ast.Lambda) or (isinstance(found, ast.Call) and _makes_a_callable(found, names)):
        return FileForm(Form.TOOL)
    if len(classes) == 1:
        return FileForm(Form.TOOL, description=_own_description(classes[0], names), own_definition=True)
    return None


def _makes_a_callable(call: ast.Call, names: Names) -> bool:
    return called_by(call, names) is not None or names.dotted(call.func) in _CALLABLE


def _only_running_tells(module: ast.Module, names: Names, wanted: str) -> bool:
    """Return whether the file may get a tool from another module, or by code that writes names."""
    return (
        wanted in names.imports
        or wanted in names.aliases
        or "*" in names.imports
        or any(_may_inherit(cls, names) for cls in names.classes.values())
        or any(_writes_names(node, names, wanted) for node in ast.walk(module))
    )


def _may_inherit(cls: ast.ClassDef, names: Names) -> bool:
    """Return whether a class may get what a tool needs from a class of another module."""
    known = {*names.classes, "object", "abc.ABC"}
    foreign = cls.keywords or any(names.dotted(base) not in known for base in cls.bases)
    return bool(foreign) and (bool(_METHODS & set(methods_of(cls, names))) or is_marked(cls, names))


def _writes_names(node: ast.AST, names: Names, wanted: str) -> bool:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) if name == wanted:  # bound by a loop, a `with` or a tuple
            return True
        case ast.Name(id=name):
            return name in _DYNAMIC
        case ast.Attribute(attr=name):
            return name in ("modules", "__dict__", "__module__")
        case ast.Call(func=func):
            return names.dotted(func) in MARKS
        case _:
            return False


# --- descriptions ----------------------------------------------------------------------------------------------------


def _description(function: Definition, names: Names) -> str | None:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and names.dotted(mark.func) in MARKS:
            given = next((keyword.value for keyword in mark.keywords if keyword.arg == "description"), None)
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                return given.value
    return ast.get_docstring(function)


def _own_description(cls: ast.ClassDef, names: Names) -> str | None:
    """Return the description in a class's definition, if it is literal."""
    method = methods_of(cls, names)["get_tool_definition"]
    returned = [node.value for node in returns_of(method.body)]
    if len(returned) != 1 or returned[0] is None:
        return None
    definition = literal(returned[0], cls, method, names)
    inner = definition.get("function", definition) if isinstance(definition, dict) else None
    said = inner.get("description") if isinstance(inner, dict) else None
    return said if isinstance(said, str) else None
