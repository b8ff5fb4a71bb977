"""Load a tool from a file's bytes, always from the source, never from bytecode."""

from __future__ import annotations

import inspect
import itertools
import linecache
import threading
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rollguard.compat import Place, function_name, place_of
from rollguard.errors import ToolLoadError
from rollguard.record.call import IsFailure
from rollguard.record.decorator import Mark, mark_of
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.instrument import recorded_by_registry
from rollguard.sandbox.tool_file import Found, NotATool, by_name, describe, find_tool, release_module, run_module

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
        running: keeps the modules of the tool importable.
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
    running: Running | None = field(default=None, repr=False, compare=False)
    mark: Mark | None = field(default=None, repr=False, compare=False)
    invoke: Callable[..., Any] = field(init=False, repr=False, compare=False)

    @property
    def module(self) -> types.ModuleType | None:
        """Return the tool's module."""
        return None if self.running is None else self.running.module

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
    try:
        place = place_of(code, name)
        linecache.cache.pop(str(path), None)  # so that a traceback shows this version's lines
        running = _running(place, code, path, sha256)
        return _tool_of(find_tool(running.module, place.exported, mark_of), name, sha256, running)
    except BaseException as error:  # a tool's module may raise anything, SystemExit too; it must not end the agent
        if isinstance(error, NotATool):
            raise ToolLoadError(f"{path}: {error}") from error.__cause__
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ToolLoadError(f"{path} cannot be loaded: {describe(error)}") from error


class Running:
    """A module that ran. It can be imported, by pickle say, as long as this object is referenced."""

    __slots__ = ("__weakref__", "module")

    def __init__(self, name: str, code: bytes | dict[str, bytes], path: Path) -> None:
        try:
            self.module = run_module(name, code, str(path))
        except BaseException:
            release_module(name)
            raise
        weakref.finalize(self, release_module, name).atexit = False


class _Together:
    """What holds several tools runs once for them all, so that they share what its modules keep."""

    def __init__(self) -> None:
        self._running: weakref.WeakValueDictionary[tuple[str, str], Running] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()
        renew_after_fork(self, "_lock", threading.RLock)

    def run(self, key: tuple[str, str], run: Callable[[], Running]) -> Running:
        """Return what runs already, by its path and hash, or run it."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = run()
            return running


_TOGETHER = _Together()


def _running(place: Place, code: bytes, path: Path, sha256: str) -> Running:
    # A unique name, because two versions may be loaded. Without a dot: pickle imports the part before one.
    name = f"{MODULE_PREFIX}{function_name(place.unit)}_{next(_serial)}"
    run = partial(Running, name, place.files or code, path)
    return _TOGETHER.run((str(path), sha256), run) if place.several else run()


def _tool_of(found: Found, name: str, sha256: str, running: Running) -> LoadedTool:
    return LoadedTool(
        name=name,
        function=found.function,
        sha256=sha256,
        is_async=inspect.iscoroutinefunction(found.function),
        is_failure=found.is_failure,
        description=found.mark.description if found.mark else None,
        timeout_seconds=found.mark.timeout_seconds if found.mark else None,
        definition=found.definition,
        running=running,
        mark=found.mark,
    )
