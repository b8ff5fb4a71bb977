"""Load a tool from a file's bytes, always from the source, never from bytecode."""

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
from typing import Any, cast

from rollguard.errors import ToolLoadError
from rollguard.record.call import IsFailure, describe
from rollguard.record.decorator import mark_of
from rollguard.record.instrument import recorded_by_registry

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoadedTool:
    """A tool ready to be called. It does not change with its file, so calls in flight finish on it.

    Attributes:
        name: the file's name without `.py`.
        function: what a call runs.
        sha256: hash of the code it was loaded from.
        is_async: whether `function` is an async function.
        is_failure: the tool's own check for results that are failures.
        description: what `@tool` says the tool does.
        definition: returns the tool's own definition, if it has one.
        module: the module of the tool.
        invoke: runs the function with keyword arguments, even for positional-only parameters.
    """

    name: str
    function: Callable[..., Any]
    sha256: str
    is_async: bool
    is_failure: IsFailure | None = None
    description: str | None = None
    definition: Callable[[], Any] | None = field(default=None, repr=False)
    module: types.ModuleType | None = field(default=None, repr=False, compare=False)
    invoke: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        invoke, mark = _by_name(self.function), mark_of(self.function)
        if mark is not None and mark.recorded is not None:
            invoke = recorded_by_registry(invoke, mark.recorded, is_async=self.is_async)
        object.__setattr__(self, "invoke", invoke)


def load(name: str, code: bytes, path: Path, sha256: str) -> LoadedTool:
    """Run the module and find its tool: the function marked `@tool`, else the one named like the file, else a class
    with `execute` and `get_tool_definition`.

    Raises:
        ToolLoadError: the code does not compile, fails when it runs, or has no tool or several.
    """
    # A unique name, because two versions may be loaded. Without a dot: pickle imports the part before one.
    module = types.ModuleType(f"rollguard_tool_{name.replace('-', '_')}_{next(_serial)}")
    module.__file__, module.__package__ = str(path), ""
    sys.modules[module.__name__] = module  # dataclasses and pickle find modules there
    linecache.cache.pop(str(path), None)  # so that a traceback shows this version's lines
    try:
        exec(compile(code, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - running tools is the job
        tool = _tool_in(module, name, sha256, path)
    except (KeyboardInterrupt, ToolLoadError):
        sys.modules.pop(module.__name__, None)
        raise
    except BaseException as error:  # a tool's module may raise anything, SystemExit too; it must not end the agent
        sys.modules.pop(module.__name__, None)
        raise ToolLoadError(f"{path} cannot be loaded: {describe(error)}") from error
    weakref.finalize(tool, sys.modules.pop, module.__name__, None).atexit = False
    return tool


def _tool_in(module: types.ModuleType, name: str, sha256: str, path: Path) -> LoadedTool:
    wanted = name.replace("-", "_")
    own = _own(module)
    marked = [value for value in own if mark_of(value) is not None]
    if len(marked) > 1:
        several = ", ".join(map(_name_of, marked))
        raise ToolLoadError(f"{path}: {several} are all marked @tool; a file has one tool")
    found = marked[0] if marked else vars(module).get(wanted)
    if not inspect.isclass(found) and callable(found):
        return _function(name, found, sha256, module, path)
    classes = [value for value in own if inspect.isclass(value) and _is_tool_class(value)]
    if inspect.isclass(found) and _is_tool_class(found):
        classes = [found]
    if len(classes) == 1:
        return _instance(name, classes[0], sha256, module, path)
    needed = f"a function named {wanted}, one marked @tool, or a class with execute and get_tool_definition"
    if marked:
        raise ToolLoadError(f"{path}: {_name_of(found)} is marked @tool but has no execute and get_tool_definition")
    raise ToolLoadError(f"{path}: {'several tool classes' if classes else 'no tool'} in it; it needs {needed}")


def _name_of(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _own(module: types.ModuleType) -> list[Any]:
    """Return the functions and classes that the module itself defines, each once."""
    own = {
        id(value): value
        for value in vars(module).values()
        # Attributes of other values are not read: some have every attribute, some raise.
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    }
    return list(own.values())


def _is_tool_class(cls: type) -> bool:
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        return False
    return callable(getattr(cls, "execute", None)) and callable(getattr(cls, "get_tool_definition", None))


def _function(name: str, function: Callable[..., Any], sha256: str, module: types.ModuleType, path: Path) -> LoadedTool:
    mark = mark_of(function)
    return LoadedTool(
        name=name,
        function=function,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(function),
        is_failure=_judge(mark.is_failure, path) if mark else None,
        description=mark.description if mark else None,
        module=module,
    )


def _instance(name: str, cls: type, sha256: str, module: types.ModuleType, path: Path) -> LoadedTool:
    try:
        instance: Any = cls()
    except Exception as error:
        raise ToolLoadError(f"{path}: {cls.__name__}() failed: {describe(error)}") from error
    return LoadedTool(
        name=name,
        function=instance.execute,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(instance.execute),
        is_failure=_judge(getattr(instance, "is_failure", None), path),
        definition=instance.get_tool_definition,
        module=module,
    )


def _judge(is_failure: Any, path: Path) -> IsFailure | None:
    if is_failure is None:
        return None
    if not callable(is_failure) or inspect.iscoroutinefunction(is_failure):
        raise ToolLoadError(f"{path}: is_failure is not a plain function of the result; it must return True or False")
    return cast("IsFailure", is_failure)


def _by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, wrapped to take positional-only parameters by name."""
    by_position = _positional_only(function)
    if not by_position:
        return function

    def invoke(**parameters: Any) -> Any:
        positional = []
        for parameter in by_position:
            if parameter.name in parameters:
                positional.append(parameters.pop(parameter.name))
            elif parameter.default is not inspect.Parameter.empty:
                positional.append(parameter.default)
            else:
                break  # the function's own error says what is missing
        return function(*positional, **parameters)

    return invoke


def _positional_only(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return []
    return [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
