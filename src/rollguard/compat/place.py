"""Tell which tools a file or a package holds, and where in it each of them is. Pure, and nothing is run.

A file or a package holds one tool, which is named like it. If several functions in it are marked `@tool`, each is a
tool: `web/search` is the function `search` of `web.py` or of the package `web/`; a function named like the file keeps
that name, `web`. The tools of a package are those that its `__init__.py` defines, or imports from its own modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from rollguard.compat.archive import INIT, is_package, unpack
from rollguard.compat.marks import is_marked
from rollguard.compat.scope import Definition, Names, function_name, parsed

_MOST_IMPORTS = 20  # modules from one to the next that a name is followed through
LARGEST = 2**17  # bytes of a file that is parsed: hostile code of that size takes the parser three seconds at most


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tool is.

    Attributes:
        unit: the name of its file or package, which is restored as one; the tool's own name, if it holds no others.
        source: the module that defines it.
        function: the name of its function there, if no function is marked.
        exported: the name of the function in the file, or in the package's `__init__.py`.
        files: the files of its package; None for a tool in a file.
        several: whether the file or package holds other tools, too.
    """

    unit: str
    source: bytes
    function: str
    exported: str
    files: dict[str, bytes] | None = None
    several: bool = False


def tools_in(code: bytes, unit: str) -> tuple[str, ...]:
    """Return the names of the tools that a file or a package of that name holds: its own, unless several are marked."""
    try:
        files = unpack(code) if is_package(code) else {INIT: code}
        marked = _marked(files, unit)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (unit,)
    if len(set(marked.values())) < 2:
        return (unit,)
    return tuple(sorted(unit if name == function_name(unit) else f"{unit}/{name}" for name in marked))


def place_of(code: bytes, tool_name: str) -> Place:
    """Return where a tool is in a version's code.

    Raises:
        ValueError: the code is a damaged text of a package.
    """
    parent, slash, member = tool_name.rpartition("/")
    if slash and parent and tool_name in tools_in(code, parent):
        return replace(_place(code, parent, member), several=True)
    place = _place(code, tool_name, function_name(tool_name))
    return replace(place, several=len(tools_in(code, tool_name)) > 1)


def whole_tree(code: bytes) -> ast.Module:
    """Return the syntax tree of a file, or of all modules of a package, one after another.

    Raises:
        SyntaxError, ValueError: it is not Python.
    """
    if not is_package(code):
        tree: ast.Module = parsed(code)
        return tree
    modules = [parsed(content) for path, content in unpack(code).items() if path.endswith(".py")]
    return ast.Module([statement for module in modules for statement in module.body], [])


def located(code: bytes | str, tool_name: str) -> tuple[bytes | str, str]:
    """Return the source of the module that defines a tool, and the name of the tool's function there.

    Raises:
        ValueError: the code is a damaged text of a package.
    """
    if isinstance(code, str) and not is_package(code[:40].encode("utf-8", "replace")):
        content = code.encode("utf-8", "surrogatepass") if "/" in tool_name else b""
    else:
        content = code.encode() if isinstance(code, str) else code
    if "/" not in tool_name and not is_package(content):
        return code, function_name(tool_name)
    place = place_of(content, tool_name)
    return place.source, place.function


@lru_cache(maxsize=16)
def _place(code: bytes, unit: str, exported: str) -> Place:
    if not is_package(code):
        return Place(unit, code, exported, exported)
    files = unpack(code)
    try:
        names = _exported(files, unit)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # `form_of` says so
        names = {}
    marked = [found for found in names.values() if found.marked]
    found = names.get(exported)
    if len(set(marked)) == 1:
        found = marked[0]
    if found is None:
        return Place(unit, files.get(INIT, b""), exported, exported, files)
    return Place(unit, files[found.path], found.name, exported, files)


@dataclass(frozen=True, slots=True)
class _Found:
    """A function or class of a package: the file that defines it, and its name there."""

    path: str
    name: str
    marked: bool


def _marked(files: Mapping[str, bytes], unit: str) -> dict[str, _Found]:
    """Return the marked functions and classes that a file or a package's `__init__.py` has, by their names there."""
    if files.get(INIT, b"").count(b"tool") < 2 and len(files) == 1:  # a search takes a thousandth of a parse
        return {}
    return {name: found for name, found in _exported(files, unit).items() if found.marked and name.isascii()}


def _exported(files: Mapping[str, bytes], unit: str) -> dict[str, _Found]:
    modules: dict[str, _Module] = {}
    return dict(_names_of(files, INIT, unit, modules, _MOST_IMPORTS))


@dataclass(frozen=True, slots=True)
class _Module:
    """A module's own functions and classes, and the modules of the package that other names come from.

    The path of a module has no ending; with it is the name there.
    """

    defined: dict[str, _Found]
    imported: dict[str, tuple[str, str]]


def _names_of(
    files: Mapping[str, bytes], path: str, unit: str, modules: dict[str, _Module], depth: int
) -> Iterator[tuple[str, _Found]]:
    if path not in modules:
        modules[path] = _read(files[path], path, unit)
    module = modules[path]
    yield from module.defined.items()
    for name, (where, original) in module.imported.items():
        found = _follow(files, where, original, unit, modules, depth)
        if found is not None:
            yield name, found


def _follow(
    files: Mapping[str, bytes], where: str, name: str, unit: str, modules: dict[str, _Module], depth: int
) -> _Found | None:
    path = next((p for p in (f"{where}.py", f"{where}/{INIT}".lstrip("/")) if p in files), None)
    if path is None or depth == 0:
        return None
    if path not in modules:
        modules[path] = _read(files[path], path, unit)
    module = modules[path]
    if name in module.defined:
        return module.defined[name]
    further = module.imported.get(name)
    return None if further is None else _follow(files, *further, unit, modules, depth - 1)


def _read(source: bytes, path: str, unit: str) -> _Module:
    if len(source) > LARGEST:
        return _Module({}, {})
    tree = parsed(source)
    names = Names.of(tree)
    kinds: dict[str, Definition | ast.ClassDef] = {**names.functions, **names.classes}
    defined = {name: _Found(path, name, is_marked(node, names)) for name, node in kinds.items()}
    package = path.split("/")[:-1]
    imported = {}
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and (where := _module_of(statement, package, unit)) is not None:
            for name in statement.names:
                imported[name.asname or name.name] = (where, name.name)
    return _Module(defined, imported)


def _module_of(statement: ast.ImportFrom, package: list[str], unit: str) -> str | None:
    """Return the path in the package, without its ending, of the module that names are imported from."""
    words = (statement.module or "").split(".") if statement.module else []
    if statement.level == 0:
        return "/".join(words[1:]) if words[:1] == [unit] else None
    up = statement.level - 1
    if up > len(package):
        return None
    return "/".join([*package[: len(package) - up], *words])
