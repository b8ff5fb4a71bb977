"""Find in sources what a rehearsal cannot show: reach to the outside, the clock, chance, and state between calls. Pure.

What a candidate does here says nothing of later calls if it can ask where and when it runs, or what ran before. So each
use that the live version does not make is named. Harmless modules are listed, since the others cannot be.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator

_HARMLESS = frozenset(
    (
        *("__future__", "abc", "array", "base64", "binascii", "bisect", "calendar", "cmath", "codecs", "collections"),
        *("colorsys", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "email", "enum"),
        *("fractions", "functools", "graphlib", "hashlib", "heapq", "hmac", "html", "ipaddress", "itertools", "json"),
        *("keyword", "logging", "math", "numbers", "operator", "pprint", "quopri", "re", "reprlib", "shlex"),
        *("statistics", "string", "struct", "textwrap", "tomllib", "types", "typing", "typing_extensions"),
        *("unicodedata", "warnings", "xml.etree", "zlib", "zoneinfo", "time.sleep", "time.strptime", "uuid.UUID"),
        *("urllib.parse", "urllib.error", "http.HTTPStatus", "io.StringIO", "io.BytesIO", "rollguard.tool"),
        *("os.sep", "os.linesep", "os.path.basename", "os.path.dirname", "os.path.join", "os.path.normpath"),
        *("os.path.split", "os.path.splitext", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath"),
        *("asyncio.gather", "asyncio.sleep", "asyncio.wait_for", "asyncio.timeout", "asyncio.TimeoutError"),
        *("asyncio.CancelledError", "asyncio.Semaphore", "asyncio.Lock", "asyncio.TaskGroup"),
    )
)
_REACHES_OUT = frozenset(
    ("eval", "exec", "compile", "open", "input", "globals", "locals", "setattr", "delattr", "breakpoint")
)
_CHANCE_BUILT_IN = frozenset(("hash", "id"))
_CLOCKS = frozenset(("now", "utcnow", "today"))
_CHANCE = frozenset(("random", "secrets", "time", "uuid"))
_MEMORIES = frozenset(("functools.lru_cache", "functools.cache", "functools.cached_property"))
_MODULES = sys.stdlib_module_names - _HARMLESS
_PLAIN_DUNDERS = frozenset(
    ("__name__", "__class__", "__init__", "__post_init__", "__new__", "__all__", "__annotations__", "__doc__")
)
_FRAMES = frozenset(("f_back", "f_globals", "f_locals", "f_builtins", "f_code", "gi_frame", "cr_frame", "ag_frame"))
_CHANGES_ITS_OBJECT = frozenset(
    (
        *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft", "put"),
        *("remove", "send", "set", "setdefault", "update"),
    )
)


def new_reach(old: ast.Module, new: ast.Module, own: str = "") -> list[str]:
    """Return what the new source uses of the outside, which the old one does not.

    Args:
        own: the name of the package that the sources are, whose modules are its own.
    """
    before, after = _Uses(old), _Uses(new)
    found = {name for name in after.names.keys() - before.names.keys() if not _is_harmless(name, own)}
    for module in after.imported - before.imported:
        uses = [name for name in after.names if _within(name, module)]
        if not uses and not _is_harmless(module, own):
            found.add(module)
    found |= {name for name in after.bare - before.bare if name.partition(".")[0] != own}
    return sorted({*found, *(_hidden_names(new) - _hidden_names(old)), *(after.built_in - before.built_in)})


def new_chance(old: ast.Module, new: ast.Module) -> list[str]:
    """Return where the new source asks the clock or chance, and the old one does not, or less often."""
    return sorted((Counter(_Uses(new).chance) - Counter(_Uses(old).chance)).keys())


def new_state(old: ast.Module, new: ast.Module) -> list[str]:
    """Return what the new source keeps between calls, and the old one does not."""
    return sorted(set(_state(new)) - set(_state(old)))


class _Uses:
    """The names of modules that a source uses."""

    def __init__(self, module: ast.Module) -> None:
        self._of: dict[str, str] = {}
        self._modules: set[str] = set()
        self.imported: set[str] = set()
        self.names: Counter[str] = Counter()
        self.bare: set[str] = set()
        for node in ast.walk(module):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._note(node)
        inner: set[int] = set()
        self.chance: list[str] = []
        called = {id(node.func) for node in ast.walk(module) if isinstance(node, ast.Call)}
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
                dotted = self._dotted(node, inner)
                if dotted is None:
                    continue
                self.names[dotted] += 1
                if isinstance(node, ast.Name) and node.id in self._modules:
                    self.bare.add(dotted)
            if isinstance(node, ast.Attribute) and node.attr in _CLOCKS and id(node) in called:
                self.chance.append(ast.unparse(node))
        self.chance += [name for name in self.names.elements() if _is_chance(name)]
        self.built_in = {
            node.id
            for node in ast.walk(module)
            if isinstance(node, ast.Name) and node.id in _REACHES_OUT - self._of.keys()
        }
        self.chance += [
            node.id
            for node in ast.walk(module)
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and node.id in _CHANCE_BUILT_IN
            and id(node) in called
        ]

    def _note(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add(alias.name)
                name = alias.asname or alias.name.partition(".")[0]
                self._of[name] = alias.name if alias.asname else name
                self._modules.add(name)
        elif node.level == 0:
            for alias in node.names:
                self.imported.add(f"{node.module}.{alias.name}")
                self._of[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _dotted(self, node: ast.expr, inner: set[int]) -> str | None:
        parts = []
        while isinstance(node, ast.Attribute):
            inner.add(id(node.value))
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._of:
            return None
        return ".".join((self._of[node.id], *reversed(parts)))


def _within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _is_harmless(name: str, own: str) -> bool:
    first, *rest = name.split(".")
    if first == own:
        return True
    if _is_chance(name):  # said as such
        return True
    if name.startswith("datetime.time"):
        return True
    if rest and (rest[-1] in ("open", "*") or any(part.startswith("_") or part in _MODULES for part in rest)):
        return False
    return any(_within(name, module) for module in _HARMLESS)


def _is_chance(name: str) -> bool:
    first = name.partition(".")[0]
    return first in _CHANCE and name not in _HARMLESS and "." in name


def _hidden_names(module: ast.Module) -> set[str]:
    """Return the names by which code reaches what runs it."""
    plain = _plain_uses(module)
    found = set()
    for node in ast.walk(module):
        if id(node) in plain:
            continue
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        allowed = _PLAIN_DUNDERS if isinstance(node, ast.Attribute) else ()
        if (name.startswith("__") and name.endswith("__") and name not in allowed) or name in _FRAMES:
            found.add(name)
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (".__" in node.value or "f_back" in node.value)
        ):
            found.add(repr(node.value[:40]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and _hides_its_name(node):
            found.add(ast.unparse(node)[:60])
    return found


def _hides_its_name(call: ast.Call) -> bool:
    name = call.args[1] if len(call.args) > 1 else None
    return name is not None and (not isinstance(name, ast.Constant) or str(name.value).startswith("_"))


def _plain_uses(module: ast.Module) -> set[int]:
    """Return the uses of `__name__` that everybody makes: the name of a logger, and whether the file is the program."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "getLogger":
            found |= {id(argument) for argument in node.args}
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            found |= {id(target) for target in node.targets}
    for statement in module.body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            found |= {id(node) for node in ast.walk(statement.test)}
    return found


# --- state between calls ---------------------------------------------------------------------------------------------


def _state(module: ast.Module) -> Iterator[str]:
    uses = _Uses(module)
    yield from (name for name in uses.names if name in _MEMORIES)
    outer = _bound(module)
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for default in (*function.args.defaults, *function.args.kw_defaults):
            if default is not None and not isinstance(
                default, ast.Constant | ast.Name | ast.Attribute | ast.UnaryOp | ast.Tuple | ast.BinOp
            ):
                yield f"the default {ast.unparse(default)}"
        if isinstance(function, ast.Lambda):
            continue
        own = _own_names(function)
        begins = function.name in ("__init__", "__post_init__", "__new__", "__set_name__")
        for name in _changed(function):
            if name == "self" and begins:
                continue
            if name in ("self", "cls") or (name in outer and name not in own):
                yield name


def _bound(module: ast.Module) -> set[str]:
    """Return the names that a module, and not one of its functions, binds."""
    found: set[str] = set()
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(statement.name)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
        else:
            found |= {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
    return found


def _own_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    shared = {name for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    stored = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return ({argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)} | stored) - shared


def _changed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Yield the names whose objects a function changes."""
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield _root(node)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES_ITS_OBJECT:
                yield _root(node.func)
            elif isinstance(node.func, ast.Name) and node.func.id == "next" and node.args:
                yield _root(node.args[0])


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
