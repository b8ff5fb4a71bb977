"""Let recorders end with their process, at exit and in a child of multiprocessing; begin anew in a forked child."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Finishing(Protocol):
    """What has to be finished before its process ends."""

    def finish(self, *, wait: bool = True) -> None:
        """Empty the buffer. If `wait` is False, the process is killed next."""

    def begin_anew(self) -> None:
        """Begin with nothing, in a forked child."""


_recorders: weakref.WeakSet[Finishing] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.begin_anew()


os.register_at_fork(after_in_child=_after_fork)


def finish_at_exit(recorder: Finishing) -> None:
    """Empty the buffer at exit. Later calls at exit are written through."""
    _recorders.add(recorder)
    finish = _finishing(recorder)
    atexit.register(finish)
    weakref.finalize(recorder, atexit.unregister, finish).atexit = False


def finish_as_child(recorder: Finishing) -> None:
    """Empty the buffer at the end of a child of multiprocessing, because forked children run no atexit."""
    multiprocessing.util.Finalize(recorder, _finishing(recorder), exitpriority=100)


def _finishing(recorder: Finishing) -> Callable[[], None]:
    ours = weakref.ref(recorder)

    def finish() -> None:
        present = ours()
        if present is not None:
            present.finish()

    return finish


def finish_all() -> None:
    """Empty the buffer of every recorder of this process before it is killed."""
    for recorder in list(_recorders):
        recorder.finish(wait=False)
