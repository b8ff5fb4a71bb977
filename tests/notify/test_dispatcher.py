"""Every event reaches every channel, at least once."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput
from rollguard.model.event import Event
from rollguard.notify import Dispatcher, NotDelivered, Unreachable
from rollguard.store.schema import notifications
from tests.conftest import NOW
from tests.notify.test_events import event


class Channel:
    """A channel of a user's own, which can be told to fail."""

    def __init__(self, name: str, error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.tried = 0
        self.events: list[Event] = []

    def notify(self, event: Event) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.events.append(event)


def rows(store: ExecutionStore) -> list[dict[str, Any]]:
    with store.database.read() as connection:
        return [
            dict(row._mapping)
            for row in connection.execute(sa.select(notifications).order_by(notifications.c.notification_id))
        ]


def add(store: ExecutionStore, *events: Event) -> None:
    for one in events:
        store.outbox.add(one.to_dict(), NOW)


def test_delivery(store: ExecutionStore) -> None:
    """Events reach each channel in their order, once, and are done then."""
    first, second = Channel("first"), Channel("second")
    dispatcher = Dispatcher(store, [first, second])
    told = [event(n) for n in range(3)]
    assert dispatcher.deliver(NOW) == 0
    add(store, *told)
    assert dispatcher.deliver(NOW) == 3
    assert first.events == second.events == told
    assert dispatcher.deliver(NOW + timedelta(days=1)) == 0
    assert store.outbox.undelivered() == 0
    assert first.tried == 3


def test_one_failing_channel(store: ExecutionStore) -> None:
    """A failing channel is tried again alone; the others got the event and are not told again."""
    good, bad, last = Channel("good"), Channel("bad", KeyError("x")), Channel("last")
    dispatcher = Dispatcher(store, [good, bad, last])
    told = event()
    add(store, told)
    assert dispatcher.deliver(NOW) == 0
    assert (good.events, last.events) == ([told], [told])
    assert rows(store)[0]["delivered_to"] == ["good", "last"]
    assert rows(store)[0]["last_error"] == "bad: KeyError: 'x'"
    assert dispatcher.deliver(NOW + timedelta(seconds=9)) == 0
    assert bad.tried == 1  # not due yet
    bad.error = None
    assert dispatcher.deliver(NOW + timedelta(seconds=10)) == 1
    assert bad.events == [told]
    assert (good.tried, bad.tried, last.tried) == (1, 2, 1)
    (row,) = rows(store)
    assert (sorted(row["delivered_to"]), row["last_error"]) == (["bad", "good", "last"], None)


def test_memory_is_in_the_store(store: ExecutionStore) -> None:
    """Another process goes on where this one stopped: it tells only the channel that is missing."""
    add(store, event())
    Dispatcher(store, [Channel("good"), Channel("bad", OSError())]).deliver(NOW)
    good, bad = Channel("good"), Channel("bad")
    assert Dispatcher(store, [good, bad]).deliver(NOW + timedelta(minutes=1)) == 1
    assert (good.tried, bad.tried) == (0, 1)


def test_growing_pauses(store: ExecutionStore) -> None:
    """A channel that goes on failing is tried with doubling pauses from 10 seconds to an hour, and never given up."""
    bad = Channel("bad", NotDelivered("503"))
    dispatcher = Dispatcher(store, [bad])
    add(store, event())
    now, pauses = NOW, []
    for attempt in range(12):
        dispatcher.deliver(now)
        assert bad.tried == attempt + 1
        due: datetime = rows(store)[0]["next_attempt_at"]
        pauses.append((due - now).total_seconds())
        dispatcher.deliver(due - timedelta(microseconds=1_000))
        assert bad.tried == attempt + 1
        now = due
    assert pauses == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]


def test_an_unreachable_channel_is_waited_for_once(store: ExecutionStore) -> None:
    """Where nobody answers, one event finds out for all of a round; one that is refused is no reason to skip others."""
    down, refusing, good = (
        Channel("down", Unreachable("no answer")),
        Channel("refusing", NotDelivered("400")),
        Channel("good"),
    )
    dispatcher = Dispatcher(store, [down, refusing, good])
    add(store, *(event(n) for n in range(4)))
    assert dispatcher.deliver(NOW) == 0
    assert (down.tried, refusing.tried, good.tried) == (1, 4, 4)
    assert all(row["last_error"] == "down: no answer; refusing: 400" for row in rows(store))
    down.error = refusing.error = None
    assert dispatcher.deliver(NOW + timedelta(seconds=10)) == 4
    assert len(down.events) == len(refusing.events) == 4


def test_an_event_that_cannot_be_read(store: ExecutionStore) -> None:
    """A stored event that this version cannot read is kept for later, and holds up no other."""
    good = Channel("good")
    store.outbox.add({"kind": "of a newer version"}, NOW)
    add(store, event(2))
    assert Dispatcher(store, [good]).deliver(NOW) == 1
    assert [told.session_id for told in good.events] == [2]
    assert store.outbox.undelivered() == 1
    assert rows(store)[0]["last_error"] == "good: KeyError: 'level'"


def test_errors_of_any_text(store: ExecutionStore) -> None:
    """An error whose text no database takes, or that has none, is noted all the same."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise OSError

    add(store, event())
    Dispatcher(
        store, [Channel("nul", ValueError("a\0b\ud800")), Channel("mute", Mute()), Channel("empty", OSError())]
    ).deliver(NOW)
    assert rows(store)[0]["last_error"] == "nul: ValueError: a\\x00b\\ud800; mute: Mute; empty: OSError"


def test_without_channels(store: ExecutionStore) -> None:
    """With no channel there is nobody to tell, and nothing waits."""
    add(store, event())
    assert Dispatcher(store, []).deliver(NOW) == 1


def test_names_must_differ(store: ExecutionStore) -> None:
    """Two channels of one name could not be told apart, and are refused."""
    with pytest.raises(InvalidInput, match="name of its own"):
        Dispatcher(store, [Channel("same"), Channel("same")])


def test_two_dispatchers_at_once(store: ExecutionStore, url: str) -> None:
    """Two that deliver at the same moment share the events: each is told once."""
    add(store, *(event(n) for n in range(20)))
    gate = threading.Barrier(2)
    channels = [Channel("log"), Channel("log")]
    counts: list[int] = []

    def deliver(channel: Channel) -> None:
        with ExecutionStore(url) as own:
            gate.wait(300)
            counts.append(Dispatcher(own, [channel]).deliver(NOW))

    threads = [threading.Thread(target=deliver, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 20
    assert sorted(told.session_id or 0 for channel in channels for told in channel.events) == list(range(20))
    assert store.outbox.undelivered() == 0


def test_a_dispatcher_that_dies(store: ExecutionStore) -> None:
    """What a process took and did not deliver is taken by another once the lease is over."""
    add(store, event())
    assert len(store.outbox.take_due(NOW)) == 1  # and then it is killed
    good = Channel("good")
    dispatcher = Dispatcher(store, [good])
    assert dispatcher.deliver(NOW + timedelta(seconds=59)) == 0
    assert dispatcher.deliver(NOW + timedelta(seconds=60)) == 1
    assert good.tried == 1
