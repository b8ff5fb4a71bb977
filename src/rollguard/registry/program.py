"""A program's own functions as tools: released under its label at its start, by any number of processes."""

from __future__ import annotations

import functools
import inspect
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from rollguard.errors import DeploymentConflict, InvalidInput, ReleaseConflict, StoreError
from rollguard.model.log import logger_of
from rollguard.model.names import checked_tool_name
from rollguard.model.version import Version
from rollguard.record.fork_safety import renew_after_fork
from rollguard.registry.deploy.release import Released, Releaser, Watch
from rollguard.registry.serve.loader import MODULE_PREFIX
from rollguard.store import PROGRAM, ExecutionStore, NewRelease

logger = logger_of(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_ASK_EVERY = 1.0  # seconds between two looks at what was rolled back
_runs_previous: ContextVar[bool] = ContextVar("rollguard_runs_previous", default=False)


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of the program, and the one that takes its place when its release is rolled back."""

    function: Callable[..., Any]
    previous: Callable[..., Any] | None


class Program:
    """The functions of this program that are tools.

    Args:
        store: records versions and releases.
        releaser: says what was released.
    """

    def __init__(self, store: ExecutionStore, releaser: Releaser) -> None:
        self._store, self._releaser = store, releaser
        self._functions: dict[str, _Function] = {}
        self._release_id: int | None = None
        self._versions: dict[str, int] = {}
        self._undone: dict[str, int | None] = {}
        self._ask_at = 0.0
        self._asking = threading.Lock()
        renew_after_fork(self, "_asking", threading.Lock)

    # --- before the release ----------------------------------------------------------------------------------------

    def add(self, name: str, function: F, previous: Callable[..., Any] | None) -> tuple[F, Callable[[], int | None]]:
        """Add a function.

        Returns:
            The function that runs the right one of the two, and one that returns the version that runs now.

        Raises:
            InvalidInput: `previous` is no function, or only one of the two is async.
        """
        checked_tool_name(name)
        self._functions[name] = _Function(function, previous)
        if previous is None:
            return function, functools.partial(self._version_of, name)
        if not callable(previous) or inspect.isclass(previous):
            raise InvalidInput(f"previous: {previous!r} is not a function")
        if inspect.iscoroutinefunction(previous) != inspect.iscoroutinefunction(function):
            raise InvalidInput(f"previous: only one of {name} and its previous function is async")
        return _choosing(function, previous), functools.partial(self._version_of, name)

    # --- the release -----------------------------------------------------------------------------------------------

    def release(
        self,
        label: str,
        *,
        metadata: Mapping[str, Any] | None,
        by: str,
        reason: str | None,
        at: datetime | None,
        watch: Watch | None,
    ) -> Released:
        """Release all functions under a label, unless a process did it already. Same errors as `Rollguard.release`."""
        if not self._functions:
            raise InvalidInput(f"{label}: no function is marked @guard.tool yet; release after they are")
        new = NewRelease(label, by, reason, dict(metadata or {}), PROGRAM)
        released = self._already(label)
        if released is None:
            try:
                released = self._go_live(new, at or datetime.now(UTC), watch)
            except (ReleaseConflict, DeploymentConflict):  # another process, with other functions, at this moment
                released = self._already(label)
                if released is None:
                    raise
        left_out = tuple(sorted(self._functions.keys() - released.versions.keys()))
        if left_out:
            logger.warning(
                "%s was released by a process without %s: nothing monitors them; import all tools before the release",
                label,
                ", ".join(left_out),
            )
        self._release_id, self._versions = released.release_id, released.versions
        self.refresh()
        return replace(released, left_out=left_out)

    def _already(self, label: str) -> Released | None:
        known = self._store.releases.find(label)
        if known is None:
            return None
        if known.kind != PROGRAM:
            raise ReleaseConflict(f"{label} is a release of tools, not of a program's functions; give another label")
        return self._releaser.released(known, None, {})

    def _go_live(self, new: NewRelease, at: datetime, watch: Watch | None) -> Released:
        for name, function in self._functions.items():
            if function.previous is not None and self._store.versions.live(name) is None:
                self._adopt_previous(name, function.previous, new, at)
        versions = [
            self._stored(name, f"{new.label}: ", function.function, new) for name, function in self._functions.items()
        ]
        parts, sessions = self._releaser.parts(versions, watch)
        parts = [replace(part, way_back=self._functions[part.version.tool_name].previous is not None) for part in parts]
        release, made = self._store.releases.go_live(new, parts, swap=_runs_already, force=True, at=at)
        return self._releaser.released(release, made, sessions)

    def _adopt_previous(self, name: str, previous: Callable[..., Any], new: NewRelease, at: datetime) -> None:
        """Record what ran before the first release as the live version, so that there is one to go back to."""
        version = self._stored(name, f"before {new.label}: ", previous, new)
        try:
            self._store.versions.go_live(
                name,
                version.version_number,
                swap=_runs_already,
                deployed_by=new.by,
                reason=f"what ran before {new.label}",
                deployed_at=at,
                expected_live=None,
            )
        except DeploymentConflict:
            logger.info("%s was recorded by another process at the same moment", name)

    def _stored(self, name: str, prefix: str, function: Callable[..., Any], new: NewRelease) -> Version:
        return self._store.versions.add(
            name, _text_of(prefix, function), kind=None, created_by=new.by, reason=new.reason, now=datetime.now(UTC)
        )

    # --- calls -----------------------------------------------------------------------------------------------------

    def _version_of(self, name: str) -> int | None:
        """Return the version that runs now: the release's, or, if it was rolled back, the one before it."""
        function = self._functions[name]
        if function.previous is None or self._release_id is None:
            return self._versions.get(name)
        if time.monotonic() >= self._ask_at:
            self._refresh_later()
        undone = name in self._undone
        _runs_previous.set(undone)
        return self._undone[name] if undone else self._versions.get(name)

    def refresh(self) -> None:
        """Ask what of the release was rolled back. A database that is away changes nothing."""
        self._ask_at = time.monotonic() + _ASK_EVERY
        if self._release_id is None:
            return
        try:
            self._undone = self._store.releases.rolled_back(self._release_id)
        except StoreError as error:
            logger.warning("whether the release was rolled back is asked again: %s", error)

    def _refresh_later(self) -> None:
        """Ask in the background, so that no call waits for the database."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            self._ask_at = time.monotonic() + _ASK_EVERY
            ours = weakref.ref(self)
            threading.Thread(target=_refresh, args=(ours,), name="rollguard-release", daemon=True).start()
        except RuntimeError as error:  # no thread can be started: the next call tries again
            logger.warning("whether the release was rolled back is asked again: %s", error)
        finally:
            self._asking.release()


def is_of_a_program(function: object) -> bool:
    """Return whether it is a function of the program; a class is none, nor is what a file of the folder holds."""
    module = str(getattr(function, "__module__", ""))
    return not isinstance(function, type) and not module.startswith(MODULE_PREFIX)


def _refresh(ours: weakref.ref[Program]) -> None:
    program = ours()
    if program is not None:
        program.refresh()


def _choosing(function: F, previous: Callable[..., Any]) -> F:
    """Return a function that runs the one of the two whose version was recorded for the call."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def chosen(*args: Any, **parameters: Any) -> Any:
            return await (previous if _runs_previous.get() else function)(*args, **parameters)

    else:

        @functools.wraps(function)
        def chosen(*args: Any, **parameters: Any) -> Any:
            return (previous if _runs_previous.get() else function)(*args, **parameters)

    return cast("F", chosen)


def _text_of(prefix: str, function: Callable[..., Any]) -> bytes:
    """Return what is kept as the code of a function: the label's, because its modules changed with it."""
    place = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"
    try:
        source = inspect.getsource(function)
    except Exception:  # noqa: BLE001 - it is for people alone, and not every function has readable source
        source = ""
    return f"# {prefix}{place}\n{source}".encode()


def _runs_already(_version: Version) -> None:
    """Do nothing: the program runs the function already."""
