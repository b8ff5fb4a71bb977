"""One event type: storing and sending do not change it."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.model.event import Event, EventKind, Level
from rollguard.notify import LogNotifier

TEXT = st.text(st.characters(exclude_categories=()))
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(EventKind),
    level=st.sampled_from(Level),
    tool_name=TEXT,
    session_id=st.none() | st.integers(1, 2**31),
    title=TEXT,
    reasons=st.lists(TEXT, max_size=3).map(tuple),
    occurred_at=st.just("2026-03-01T12:00:00+00:00"),
    details=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(st.integers())),
)


def event(number: int = 1, **more: Any) -> Event:
    given_values: dict[str, Any] = {
        "kind": EventKind.ROLLED_BACK,
        "level": Level.WARNING,
        "tool_name": "my_tool",
        "session_id": number,
        "title": f"my_tool: rolled back ({number})",
        "reasons": ("success rate fell by 30 points",),
        "occurred_at": "2026-03-01T12:00:00+00:00",
        "details": {"to_version": 1},
        **more,
    }
    return Event(**given_values)


@given(EVENTS)
def test_round_trip(sent: Event) -> None:
    """An event is equal after a round trip through its mapping and JSON, its id included."""
    assert Event.from_dict(sent.to_dict()) == sent
    assert Event.from_dict(json.loads(json.dumps(sent.to_dict(), allow_nan=False))) == sent


def test_newer_fields() -> None:
    """An older Rollguard that delivers an event leaves out a field that a newer one added."""
    sent = event()
    assert Event.from_dict({**sent.to_dict(), "mood": "bad"}) == sent


def test_ids_differ() -> None:
    """Each event has its own id, so that a receiver recognizes a repeated one."""
    assert event().event_id != event().event_id


@pytest.mark.parametrize(
    ("level", "number"),
    [(Level.INFO, logging.INFO), (Level.WARNING, logging.WARNING), (Level.CRITICAL, logging.CRITICAL)],
)
def test_log(caplog: pytest.LogCaptureFixture, level: Level, number: int) -> None:
    """The log channel writes one line at the event's level, with the whole event beside it."""
    sent = event(level=level)
    with caplog.at_level(logging.INFO, logger="rollguard.alerts"):
        LogNotifier().notify(sent)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("rollguard.alerts", number)
    assert record.message == "my_tool: rolled back (1): success rate fell by 30 points"
    assert vars(record)["event"] == sent.to_dict()
