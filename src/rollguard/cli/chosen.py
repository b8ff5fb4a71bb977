"""Find the session that people name by its number or by its tool, and the version they name by number or label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rollguard.errors import UnknownSession

if TYPE_CHECKING:
    from rollguard.model.session import Session
    from rollguard.store import ExecutionStore


def session_named(store: ExecutionStore, name: str) -> Session:
    """Return the session of a number, or that of a tool: the active one, else the latest.

    Raises:
        UnknownSession: there is none.
    """
    from rollguard.model.given import checked_session_id

    if name.removeprefix("session_").isdigit():
        return store.sessions.get(checked_session_id(name))
    return session_of_tool(store, name)


def session_of_tool(store: ExecutionStore, tool: str) -> Session:
    """Return a tool's active session, else its latest.

    Raises:
        UnknownSession: no deployment of it was ever monitored.
    """
    found = latest_session(store, tool)
    if found is None:
        raise UnknownSession(
            f"{tool} has no monitoring session: no deployment of it was ever monitored; "
            "list the tools with: rollguard tools"
        )
    return found


def latest_session(store: ExecutionStore, tool: str) -> Session | None:
    """Return a tool's active session, else its latest; None if there is none."""
    found = store.sessions.active(tool) or store.sessions.recent(tool_name=tool, limit=1)
    return found[0] if found else None


def version_named(store: ExecutionStore, tool: str, name: str) -> int:
    """Return the number of a version that is named by it, or by a release's label.

    Raises:
        UnknownVersion: the tool was not released under this label.
    """
    return int(name) if name.isdecimal() else store.versions.get(tool, name).version_number
