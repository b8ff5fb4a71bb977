"""Functions that record their own calls: `@tool(store=...)`, in a program's own code, outside the folder of tools."""

from __future__ import annotations

import functools
import hashlib
import inspect
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from types import CoroutineType
from typing import Any, TypeVar, cast

from rollguard.errors import InvalidInput
from rollguard.model.log import logger_of
from rollguard.model.names import checked_tool_name
from rollguard.model.split import Arm, Router
from rollguard.record import Recorder, Spool, request_id
from rollguard.record.call import Call, IsFailure, Subject, awaited, in_event_loop, run
from rollguard.record.decorator import Mark
from rollguard.record.fork_safety import renew_after_fork
from rollguard.record.kept import kept_of
from rollguard.sandbox.tool_file import describe
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

F = TypeVar("F", bound=Callable[..., Any])
VersionNumber = int | Callable[[], int | None]

# The function that the registry is about to call; the registry records that call.
_recorded_by_registry: ContextVar[object] = ContextVar("rollguard_recorded_by_registry", default=None)


def self_recording(
    function: F,
    recorder: Recorder,
    *,
    name: str | None = None,
    version: VersionNumber | None = None,
    judges: tuple[IsFailure, ...] = (),
    mark: Mark | None = None,
    beside: tuple[Router, Callable[..., Any]] | None = None,
) -> F:
    """Return a function that runs `function` and records each call.

    Args:
        function: a plain or an async function.
        recorder: records the calls.
        name: the tool name under which they are recorded; by default the function's name.
        version: the version that runs, or a function that returns it at each call.
        judges: each returns whether a returned result is a failure.
        mark: says what of a call is recorded, after how many seconds it counts as failed, and how it is scored.
        beside: what draws each call while a rollout is on, and the function that a call of the old version runs.

    Raises:
        InvalidInput: a value is invalid.
    """
    if inspect.isclass(function):
        raise InvalidInput(f"@tool cannot record the class {function.__name__}; put it on the method that is called")
    kept, timeout_seconds = kept_of(function, mark), None if mark is None else mark.timeout_seconds
    tool_name = checked_tool_name(name or getattr(function, "__name__", None))
    score = None if mark is None else mark.score
    subject = Subject(tool_name, function, judges, kept=kept, timeout_seconds=timeout_seconds, score=score)
    recorder.define(tool_name, timeout_seconds)
    number, ask = _checked_version(version)
    given_to, encoded = by_name(function), recorder.given

    if beside is not None and inspect.iscoroutinefunction(beside[1]) != inspect.iscoroutinefunction(function):
        raise InvalidInput(f"previous: only one of {tool_name} and its previous function is async")
    router, old = (None, subject) if beside is None else (beside[0], replace(subject, invoke=beside[1]))

    def recorded(args: tuple[Any, ...], parameters: dict[str, Any]) -> Any:
        given = encoded(subject.name, kept, given_to(args, parameters)) if args or parameters else None
        drawn = None if router is None else router.drawn(tool_name, request_id())
        if drawn is not None:
            chosen = old if drawn.arm is Arm.OLD else subject
            return run(recorder, chosen, drawn, given, args, parameters, _awaited_by_the_caller)
        running = number if ask is None else _version_from(subject.name, ask)
        return run(recorder, subject, running, given, args, parameters, _awaited_by_the_caller)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **parameters: Any) -> Any:
            if _recorded_by_registry.get() is function:
                _recorded_by_registry.set(None)
                return await function(*args, **parameters)
            return await recorded(args, parameters)

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **parameters: Any) -> Any:
            if _recorded_by_registry.get() is function:
                _recorded_by_registry.set(None)
                return function(*args, **parameters)
            return recorded(args, parameters)

    return cast("F", wrapper)


def recorded_by_registry(invoke: Callable[..., Any], function: object, *, is_async: bool) -> Callable[..., Any]:
    """Return `invoke`, wrapped so that `function` inside it leaves the record of the call to the registry.

    Args:
        invoke: what the registry runs.
        function: the function inside that records its own calls.
        is_async: whether `invoke` is declared async. If it is not, but returns a coroutine inside an event loop, the
            registry refuses the call and closes the coroutine.
    """

    def invoked(**parameters: Any) -> Any:
        before = _recorded_by_registry.set(function)
        try:
            result = invoke(**parameters)
            if not isinstance(result, CoroutineType) or _recorded_by_registry.get() is not function:
                return result
            return later(result) if is_async or not in_event_loop() else result
        finally:
            _recorded_by_registry.reset(before)

    async def later(coroutine: Coroutine[Any, Any, Any]) -> Any:
        before = _recorded_by_registry.set(function)
        try:
            return await coroutine
        finally:
            _recorded_by_registry.reset(before)

    return invoked


# --- the recorder of a store -----------------------------------------------------------------------------------------


class _Recorders:
    """One recorder for each store, for as long as a function records through it."""

    def __init__(self) -> None:
        self._of: weakref.WeakValueDictionary[int, Recorder] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        renew_after_fork(self, "_lock", threading.Lock)

    def of(self, store: ExecutionStore) -> Recorder:
        with self._lock:
            recorder = self._of.get(id(store))  # a recorder keeps its store, so no other one gets its id
            if recorder is None:
                recorder = self._of[id(store)] = Recorder(store, Spool(_spool_of(store), access=store.database.access))
            return recorder


_recorders = _Recorders()


def recorder_of(store: ExecutionStore) -> Recorder:
    """Return the recorder that all functions with this store share.

    Raises:
        InvalidInput: `store` is not an `ExecutionStore`.
    """
    if not isinstance(store, ExecutionStore):
        raise InvalidInput(f"store: {type(store).__name__} is not an ExecutionStore")
    return _recorders.of(store)


def _spool_of(store: ExecutionStore) -> Path:
    """Return the spool of a database: beside a SQLite file, else in the working folder."""
    database = store.database
    folder = Path.cwd() if database.path is None else database.path.parent
    identity = str(database) if database.path is None else database.path.name
    if (options := database.url.normalized_query.get("options")) is not None:  # they may name another schema
        identity += str(options)
    return folder / ".rollguard" / f"spool-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.jsonl"


# --- one call --------------------------------------------------------------------------------------------------------


def _awaited_by_the_caller(call: Call, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    return awaited(call, coroutine)


def by_name(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """Return a function that merges positional and keyword arguments into one mapping, without `self`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [parameter.name for parameter in parameters if parameter.kind in kinds]
    rest = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    own = 1 if _is_method(function, names) else 0

    def given_to(args: tuple[Any, ...], by_name: dict[str, Any]) -> dict[str, Any]:
        if len(args) <= own:
            return by_name
        given = dict(zip(names[own:], args[own:], strict=False))
        if len(args) > len(names):
            given[rest] = args[len(names) :]
        return {**given, **by_name}

    return given_to


def _is_method(function: Callable[..., Any], names: list[str]) -> bool:
    inside, _, _ = getattr(function, "__qualname__", "").rpartition(".")
    return bool(inside) and not inside.endswith("<locals>") and names[:1] in (["self"], ["cls"])


def _checked_version(version: VersionNumber | None) -> tuple[int | None, Callable[[], int | None] | None]:
    if version is None or _is_version(version):
        return cast("int | None", version), None
    if not callable(version):
        raise InvalidInput(f"version: {version!r} is not a version's number, 1 or more, nor a function that returns it")
    return None, version


def _version_from(name: str, ask: Callable[[], int | None]) -> int | None:
    try:
        version = ask()
    except Exception as error:  # noqa: BLE001 - the program's own code; the call goes on, recorded without a version
        logger.error("the version of %s is not known: %s", name, describe(error))
        return None
    if version is not None and not _is_version(version):
        logger.error("the version of %s is given as %r, which is not a version's number, 1 or more", name, version)
        return None
    return version


def _is_version(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
