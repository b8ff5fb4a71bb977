"""Write what people read: what happened, why, what was done, and where to see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from rollguard.model.event import Event, EventKind, Level
from rollguard.model.text import one_line

_MOST = 100  # events that one message lists
_DONE = {
    EventKind.ROLLED_BACK: "version {to_version} is live again; nothing more is needed now",
    EventKind.ROLLBACK_FAILED: "nothing: version {from_version} is still live, and a person has to decide",
    EventKind.ROLLBACK_OBSERVED: "nothing: the rules of this session only observe",
    EventKind.ROLLBACK_CAPPED: "nothing: version {from_version} is still live, and a person has to decide",
    EventKind.RECOVERED: "nothing more is needed",
    EventKind.NOT_THE_CAUSE: "version {to_version} stays live; look for the cause outside of the tool",
    EventKind.QUARANTINED_CODE: "the live version goes on serving",
    EventKind.SLOWDOWN: "nothing was rolled back",
    EventKind.EXTERNAL: "nothing was rolled back; the checks go on",
    EventKind.UNPROVEN_DROP: "nothing was rolled back; the checks go on",
    EventKind.CREEPING: "nothing was rolled back; this is only reported",
    EventKind.SILENT: "nothing was rolled back",
    EventKind.PROPOSAL_WAITING: "nothing goes live until a person approves it",
}
_URGENT = (Level.INFO, Level.WARNING, Level.CRITICAL)


@dataclass(frozen=True, slots=True)
class Message:
    """A text for people, of one event or of several that came together.

    Attributes:
        title: one line.
        body: lines of plain text.
        level: that of the most urgent event.
    """

    title: str
    body: str
    level: Level


def message_of(events: Sequence[Event], base_url: str = "") -> Message:
    """Return the message for some events; several of one tool, session and kind are in it once.

    Args:
        base_url: where the pages are, as `https://rollguard.example`; without it, commands are named instead of links.
    """
    latest = [*{(event.kind, event.tool_name, event.session_id): event for event in events}.values()]
    level = max((event.level for event in latest), key=_URGENT.index)
    if len(latest) == 1:
        return Message(one_line(latest[0].title), _one(latest[0], base_url), level)
    kinds = Counter(event.kind for event in latest)
    said = ", ".join(f"{number} {str(kind).replace('_', ' ')}" for kind, number in kinds.most_common())
    tools = len({event.tool_name for event in latest if event.tool_name})
    lines = [_line(event, base_url) for event in latest[:_MOST]]
    if len(latest) > _MOST:
        lines.append(f"… and {len(latest) - _MOST} more")
    lines += ["", f"See: {_address(base_url, '/') or 'rollguard status'}"]
    return Message(f"{tools} tool{'' if tools == 1 else 's'} at once: {said}", "\n".join(lines), level)


def _one(event: Event, base_url: str) -> str:
    lines = [f"{'  ' if number else 'Why: '}{one_line(reason)}" for number, reason in _reasons(event)]
    done = _done(event)
    return "\n".join([*lines, *([f"Done: {done}"] if done else []), f"See: {_link(event, base_url)}"])


def _line(event: Event, base_url: str) -> str:
    reason = next((f" ({one_line(text)})" for _number, text in _reasons(event)), "")
    return f"• {one_line(event.title)}{reason} {_link(event, base_url)}"


def _reasons(event: Event) -> list[tuple[int, str]]:
    return [*enumerate(filter(None, event.reasons))]


def _done(event: Event) -> str:
    if event.kind is EventKind.ROLLED_BACK and event.details.get("to_version") is None:
        return "the tool is withdrawn: there was no version before its release"
    return _DONE.get(event.kind, "").format_map({"to_version": "?", "from_version": "?", **event.details})


def _link(event: Event, base_url: str) -> str:
    if event.session_id is not None:
        return _address(base_url, f"/sessions/{event.session_id}") or f"rollguard explain {event.session_id}"
    if event.kind is EventKind.PROPOSAL_WAITING and "attempt_id" in event.details:
        attempt = event.details["attempt_id"]
        return _address(base_url, f"/proposals/{attempt}") or f"rollguard proposals show {attempt}"
    if event.tool_name:
        name = quote(event.tool_name, safe="")
        return _address(base_url, f"/tool?name={name}") or f"rollguard show {event.tool_name}"
    return _address(base_url, "/") or "rollguard status"


def _address(base_url: str, path: str) -> str:
    return f"{base_url.rstrip('/')}{path}" if base_url else ""
