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
    """A user's channel, which fails with `error` if that is set."""

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
    """Events reach each channel once, in their order, and then are delivered."""
    first, second = Channel("first"), Channel("second")
    dispatcher = Dispatcher(store, [first, second])
    events = [event(n) for n in range(3)]
    assert dispatcher.deliver(NOW) == 0
    add(store, *events)
    assert dispatcher.deliver(NOW) == 3
    assert first.events == second.events == events
    assert dispatcher.deliver(NOW + timedelta(days=1)) == 0
    assert store.outbox.undelivered() == 0
    assert first.tried == 3


def test_one_failing_channel(store: ExecutionStore) -> None:
    """Only the failing channel is tried again; the others received the event and do not receive it again."""
    good, bad, last = Channel("good"), Channel("bad", KeyError("x")), Channel("last")
    dispatcher = Dispatcher(store, [good, bad, last])
    sent = event()
    add(store, sent)
    assert dispatcher.deliver(NOW) == 0
    assert (good.events, last.events) == ([sent], [sent])
    assert rows(store)[0]["delivered_to"] == ["good", "last"]
    assert rows(store)[0]["last_error"] == "bad: KeyError: 'x'"
    assert dispatcher.deliver(NOW + timedelta(seconds=9)) == 0
    assert bad.tried == 1  # not due yet
    bad.error = None
    assert dispatcher.deliver(NOW + timedelta(seconds=10)) == 1
    assert bad.events == [sent]
    assert (good.tried, bad.tried, last.tried) == (1, 2, 1)
    (row,) = rows(store)
    assert (sorted(row["delivered_to"]), row["last_error"]) == (["bad", "good", "last"], None)


def test_deliveries_are_recorded_in_the_store(store: ExecutionStore) -> None:
    """Another process continues where this one stopped: it delivers only to the channel that is missing."""
    add(store, event())
    Dispatcher(store, [Channel("good"), Channel("bad", OSError())]).deliver(NOW)
    good, bad = Channel("good"), Channel("bad")
    assert Dispatcher(store, [good, bad]).deliver(NOW + timedelta(minutes=1)) == 1
    assert (good.tried, bad.tried) == (0, 1)


def test_growing_pauses(store: ExecutionStore) -> None:
    """A channel that keeps failing is tried with doubling pauses from 10 seconds to an hour, for ever."""
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
    """An unreachable channel is tried once a round; a channel that refuses an event is tried with each event."""
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
    """A stored event that this version cannot read stays in the outbox, and does not delay the others."""
    good = Channel("good")
    store.outbox.add({"kind": "of a newer version"}, NOW)
    add(store, event(2))
    assert Dispatcher(store, [good]).deliver(NOW) == 1
    assert [each.session_id for each in good.events] == [2]
    assert store.outbox.undelivered() == 1
    assert rows(store)[0]["last_error"] == (
        "good: event 1 is none that Rollguard wrote; correct or delete its row in notifications"
    )


def test_errors_of_any_text(store: ExecutionStore) -> None:
    """An error is recorded even if no database accepts its text, or it has none."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise OSError

    add(store, event())
    Dispatcher(
        store, [Channel("nul", ValueError("a\0b\ud800")), Channel("mute", Mute()), Channel("empty", OSError())]
    ).deliver(NOW)
    assert rows(store)[0]["last_error"] == "nul: ValueError: a\\x00b\\ud800; mute: Mute; empty: OSError"


def test_without_channels(store: ExecutionStore) -> None:
    """Without channels there is nobody to notify, and no event waits."""
    add(store, event())
    assert Dispatcher(store, []).deliver(NOW) == 1


def test_names_must_differ(store: ExecutionStore) -> None:
    """Two channels with the same name are refused."""
    with pytest.raises(InvalidInput, match="name of its own"):
        Dispatcher(store, [Channel("same"), Channel("same")])


def test_two_dispatchers_at_once(store: ExecutionStore, url: str) -> None:
    """Two dispatchers at the same time share the events: each event is delivered once."""
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
    assert sorted(each.session_id or 0 for channel in channels for each in channel.events) == list(range(20))
    assert store.outbox.undelivered() == 0


def test_a_dispatcher_that_dies(store: ExecutionStore) -> None:
    """Events that a process took and did not deliver are taken by another when the lease ends."""
    add(store, event())
    assert len(store.outbox.take_due(NOW)) == 1  # and then it is killed
    good = Channel("good")
    dispatcher = Dispatcher(store, [good])
    assert dispatcher.deliver(NOW + timedelta(seconds=59)) == 0
    assert dispatcher.deliver(NOW + timedelta(seconds=60)) == 1
    assert good.tried == 1
