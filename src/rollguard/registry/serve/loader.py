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
from typing import Any

from rollguard.compat import function_name
from rollguard.errors import ToolLoadError
from rollguard.record.call import IsFailure
from rollguard.record.decorator import Mark, mark_of
from rollguard.record.instrument import recorded_by_registry
from rollguard.sandbox.tool_file import Found, NotATool, by_name, describe, find_tool, run_module

MODULE_PREFIX = "rollguard_tool_"
"""What the names of the modules of a folder's files begin with."""

_serial = itertools.count(1)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class LoadedTool:
    """A tool ready to be called. It does not change with its file, so calls in flight finish on it.

    Attributes:
        name: the tool's name.
        function: what a call runs.
        sha256: hash of the code it was loaded from.
        is_async: whether `function` is an async function.
        is_failure: the tool's own check for results that are failures.
        description: what `@tool` says the tool does.
        timeout_seconds: the seconds after which a call counts as failed, if `@tool` says so.
        definition: returns the tool's own definition, if it has one.
        module: the module of the tool.
        mark: what `@tool` says about it.
        invoke: runs the function with keyword arguments, even for positional-only parameters.
    """

    name: str
    function: Callable[..., Any]
    sha256: str
    is_async: bool
    is_failure: IsFailure | None = None
    description: str | None = None
    timeout_seconds: float | None = None
    definition: Callable[[], Any] | None = field(default=None, repr=False)
    module: types.ModuleType | None = field(default=None, repr=False, compare=False)
    mark: Mark | None = field(default=None, repr=False, compare=False)
    invoke: Callable[..., Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        invoke, mark = by_name(self.function), mark_of(self.function)
        if mark is not None and mark.recorded is not None:
            invoke = recorded_by_registry(invoke, mark.recorded, is_async=self.is_async)
        object.__setattr__(self, "invoke", invoke)


def load(name: str, code: bytes, path: Path, sha256: str) -> LoadedTool:
    """Run the module in this process and return its tool, by the rules of `rollguard.sandbox.tool_file`.

    Raises:
        ToolLoadError: the code does not compile, fails when it runs, or has no tool or several.
    """
    # A unique name, because two versions may be loaded. Without a dot: pickle imports the part before one.
    wanted = function_name(name)
    module_name = f"{MODULE_PREFIX}{wanted}_{next(_serial)}"
    linecache.cache.pop(str(path), None)  # so that a traceback shows this version's lines
    try:
        module = run_module(module_name, code, str(path))
        tool = _tool_of(find_tool(module, wanted, mark_of), name, sha256, module)
    except BaseException as error:  # a tool's module may raise anything, SystemExit too; it must not end the agent
        sys.modules.pop(module_name, None)
        if isinstance(error, NotATool):
            raise ToolLoadError(f"{path}: {error}") from error.__cause__
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ToolLoadError(f"{path} cannot be loaded: {describe(error)}") from error
    weakref.finalize(tool, sys.modules.pop, module_name, None).atexit = False
    return tool


def _tool_of(found: Found, name: str, sha256: str, module: types.ModuleType) -> LoadedTool:
    return LoadedTool(
        name=name,
        function=found.function,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(found.function),
        is_failure=found.is_failure,
        description=found.mark.description if found.mark else None,
        timeout_seconds=found.mark.timeout_seconds if found.mark else None,
        definition=found.definition,
        module=module,
        mark=found.mark,
    )
