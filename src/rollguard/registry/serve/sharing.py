"""Serve two versions of a tool at once: load the one not in its file, draw each call, and say which version ran."""

from __future__ import annotations

import time
from collections.abc import Callable

from rollguard.errors import StoreError, ToolLoadError, UnknownVersion
from rollguard.model.log import logger_of
from rollguard.model.split import Arm, Drawing, Drawn, Draws, Ran, Split
from rollguard.model.version import Version
from rollguard.record.call import Subject
from rollguard.record.request import request_id
from rollguard.registry.folder.splits import Splits
from rollguard.registry.serve.served import Served
from rollguard.store import ExecutionStore

logger = logger_of(__name__)

_NEW = Arm.NEW  # each call asks for it
_ASK_AGAIN = 5.0  # seconds until a database that was away is asked again

LoadNew = Callable[[Version], Served | None]
"""Load a version that is not the file's; None while it is being checked. Raises `ToolLoadError`."""
Unloadable = Callable[[str, Split, ToolLoadError], None]
"""Called once with the tool, its rollout and why that version cannot be loaded."""


class Beside:
    """The version that serves beside the file's.

    Attributes:
        split: by what calls are drawn.
    """

    __slots__ = ("_new", "_next", "_old", "split")

    def __init__(self, drawing: Drawing, old: Served, new: Served, split: Split) -> None:
        self._next, self._old, self._new, self.split = drawing.next, old, new, split

    def drawn(self) -> tuple[Subject, Ran]:
        """Draw the next call, and return what it runs."""
        drawn = self._next(request_id())
        return (self._new if drawn.arm is _NEW else self._old).subject, drawn


class Sharing:
    """The tools of a process of which two versions serve.

    Args:
        splits: what the machine knows of the rollouts.
        store: has the code of the versions.
        load: loads one. A weak reference, like the next one: what they belong to holds this object.
        unloadable: is called with one that cannot be loaded.
    """

    def __init__(
        self,
        splits: Splits,
        store: ExecutionStore,
        load: Callable[[], LoadNew | None],
        unloadable: Callable[[], Unloadable | None],
    ) -> None:
        self._splits, self._store, self._load, self._unloadable = splits, store, load, unloadable
        self._draws = Draws()
        self._others: dict[str, tuple[tuple[bytes, int], Served | None]] = {}
        self._ask_at: dict[str, float] = {}

    def attend(self, name: str, served: Served) -> None:
        """Let the tool be served as the machine knows it: by one version, or by two."""
        split = self._splits.of(name)
        live = served.version_number
        if split is not None and live is None:  # which version it is, is being found out
            return
        if split is None or name in self._splits.routers or live not in (split.old, split.new):
            if served.beside is not None or name in self._others:
                self._end(name, served)
            return
        if served.beside is not None and served.beside.split == split:
            return
        other = self._other_of(name, split, split.old if live == split.new else split.new)
        if other is None:
            if served.beside is not None and served.beside.split.key != split.key:  # of a rollout that is over
                served.beside = served.marked_as = None
            return
        old, new = (other, served) if live == split.new else (served, other)
        for one, arm, number in ((old, Arm.OLD, split.old), (new, Arm.NEW, split.new)):
            one.marked_as = Drawn(split.rollout_id, arm, number, split.stage, split.share)
        served.beside = Beside(Drawing(self._draws, name, split), old, new, split)

    def _end(self, name: str, served: Served) -> None:
        served.beside = served.marked_as = None
        self._others.pop(name, None)

    def _other_of(self, name: str, split: Split, number: int) -> Served | None:
        """Return the version that is not the file's; None if it is not loaded yet, or cannot be."""
        wanted = split.key, number  # not the rollout's number, which a restored backup gives again
        found, known = self._others.get(name, ((b"", 0), None))
        if found == wanted:
            return known
        if time.monotonic() < self._ask_at.get(name, 0.0):
            return None
        load = self._load()
        if load is None:  # the registry is going
            return None
        try:
            other = load(self._store.versions.get(name, number))
        except (StoreError, UnknownVersion) as error:
            self._ask_at[name] = time.monotonic() + _ASK_AGAIN
            logger.warning("%s: version %d does not serve here yet: %s", name, number, error)
            return None
        except ToolLoadError as error:
            self._others[name] = wanted, None
            unloadable = self._unloadable()
            if unloadable is not None:
                unloadable(name, split, error)
            return None
        if other is not None:
            other.version_number = number
            self._others[name] = wanted, other
        return other
