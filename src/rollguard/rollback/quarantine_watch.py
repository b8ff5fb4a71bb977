"""Notify people, once, of quarantined code that somebody put back into a tool's file by hand."""

from __future__ import annotations

from datetime import datetime

from rollguard.errors import ToolFileError
from rollguard.registry import ToolRegistry
from rollguard.rollback.events import quarantined_event
from rollguard.store import ExecutionStore, digest


def notice_quarantined_files(store: ExecutionStore, registry: ToolRegistry, now: datetime) -> int:
    """Notify people of each tool whose file holds quarantined code, and return how many notifications are new."""
    notified = 0
    for held in store.quarantine.in_force():
        if registry.remote.of(held.tool_name) is not None:
            continue
        on_disk = _file_holds(registry, held.tool_name, held.sha256)
        if on_disk != (held.noticed_at is not None):
            event = quarantined_event(held, now)
            notified += store.quarantine.noticed(held.quarantine_id, on_disk=on_disk, event=event, now=now)
    return notified


def _file_holds(registry: ToolRegistry, tool_name: str, sha256: str) -> bool:
    try:
        code = registry.folder.read(tool_name)
    except ToolFileError:  # an unreadable file serves no code; checks and the doctor report it
        return False
    return code is not None and digest(code) == sha256
