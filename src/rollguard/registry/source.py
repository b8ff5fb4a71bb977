"""From a file's bytes to a tool that can be called. Always from the source, never from bytecode."""

from __future__ import annotations

import inspect
import itertools
import linecache
import sys
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollguard.errors import ToolLoadError
from rollguard.registry.marks import IsFailure, mark_of

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoadedTool:
    """A tool ready to be called. It stays what it is when its file changes: calls in flight finish on it.

    Attributes:
        name: the file's name without `.py`.
        function: what a call runs.
        sha256: hash of the code it was loaded from.
        is_async: whether `function` returns an awaitable.
        is_failure: the tool's own say on which results are failures.
        definition: the tool's own definition, where it brings one; asked for when needed.
    """

    name: str
    function: Callable[..., Any]
    sha256: str
    is_async: bool
    is_failure: IsFailure | None = None
    description: str | None = None
    definition: Callable[[], Any] | None = field(default=None, repr=False)
    module: types.ModuleType | None = field(default=None, repr=False, compare=False)


def load(name: str, code: bytes, path: Path, sha256: str) -> LoadedTool:
    """Run the module and find its tool: the function marked `@tool`, else the one named like the file, else a class
    with `execute` and `get_tool_definition`.

    Raises:
        ToolLoadError: the code does not compile, fails when it runs, or has none or several of these.
    """
    module = _run(name, code, path)
    marked = [value for value in _own(module) if mark_of(value) is not None]
    if len(marked) > 1:
        raise ToolLoadError(f"{path}: several functions are marked @tool; a file has one tool")
    found = marked[0] if marked else getattr(module, name.replace("-", "_"), None)
    if inspect.isfunction(found):
        return _function(name, found, sha256, module)
    classes = [value for value in _own(module) if inspect.isclass(value) and _is_tool_class(value)]
    if inspect.isclass(found) and _is_tool_class(found):
        classes = [found]
    if len(classes) == 1:
        return _instance(name, classes[0], sha256, module, path)
    wanted = (
        f"a function named {name.replace('-', '_')}, one marked @tool, or a class with execute and get_tool_definition"
    )
    raise ToolLoadError(f"{path}: {'several tool classes' if classes else 'no tool'} in it; it needs {wanted}")


def _run(name: str, code: bytes, path: Path) -> types.ModuleType:
    # A name of its own: two versions may live side by side, and dataclasses and pickle look modules up by name.
    module = types.ModuleType(f"rollguard_tools.{name.replace('-', '_')}_{next(_serial)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    weakref.finalize(module, sys.modules.pop, module.__name__, None)
    linecache.cache.pop(str(path), None)  # so that a traceback shows this version's lines
    try:
        exec(compile(code, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - running tools is the job
    except KeyboardInterrupt:
        sys.modules.pop(module.__name__, None)
        raise
    except BaseException as error:  # a tool's module may raise anything, SystemExit too; it must not end the agent
        sys.modules.pop(module.__name__, None)
        raise ToolLoadError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _own(module: types.ModuleType) -> list[Any]:
    """What the module defines itself, not what it imports."""
    return [v for v in vars(module).values() if getattr(v, "__module__", None) == module.__name__]


def _is_tool_class(cls: type) -> bool:
    return callable(getattr(cls, "execute", None)) and callable(getattr(cls, "get_tool_definition", None))


def _function(name: str, function: Callable[..., Any], sha256: str, module: types.ModuleType) -> LoadedTool:
    mark = mark_of(function)
    return LoadedTool(
        name=name,
        function=function,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(function),
        is_failure=mark.is_failure if mark else None,
        description=mark.description if mark else None,
        module=module,
    )


def _instance(name: str, cls: type, sha256: str, module: types.ModuleType, path: Path) -> LoadedTool:
    try:
        instance: Any = cls()
    except Exception as error:
        raise ToolLoadError(f"{path}: {cls.__name__}() failed: {type(error).__name__}: {error}") from error
    is_failure = getattr(instance, "is_failure", None)
    return LoadedTool(
        name=name,
        function=instance.execute,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(instance.execute),
        is_failure=is_failure if callable(is_failure) else None,
        definition=instance.get_tool_definition,
        module=module,
    )
