"""Renew locks after a fork. A lock that another thread held at the fork would stay locked in the child for ever."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable


def renew_after_fork(owner: object, attribute: str, make: Callable[[], object]) -> None:
    """Replace the owner's lock in `attribute` by a new, open one in every child that this process forks."""
    ours = weakref.ref(owner)

    def renew() -> None:
        present = ours()
        if present is not None:
            setattr(present, attribute, make())

    os.register_at_fork(after_in_child=renew)
