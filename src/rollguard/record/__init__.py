"""Record calls of tools as executions. The caller does not wait, and the database may be away."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rollguard.record.request import request, request_id
from rollguard.record.tags import current_tags, tags

if TYPE_CHECKING:
    from rollguard.record.buffer import Note
    from rollguard.record.delivery import refused_beside
    from rollguard.record.recorder import Recorder
    from rollguard.record.signals import install_signal_handlers
    from rollguard.record.spool import Spool

# Imported when first used, so that `from rollguard import tool` does not wait for a database library.
_HOMES = {
    "Note": "buffer",
    "Recorder": "recorder",
    "Spool": "spool",
    "install_signal_handlers": "signals",
    "refused_beside": "delivery",
}

__all__ = [
    "Note",
    "Recorder",
    "Spool",
    "current_tags",
    "install_signal_handlers",
    "refused_beside",
    "request",
    "request_id",
    "tags",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'rollguard.record' has no attribute {name!r}")
    return getattr(import_module(f"rollguard.record.{home}"), name)
