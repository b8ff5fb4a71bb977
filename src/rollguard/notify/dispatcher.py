"""Deliver what the outbox holds, to every channel, at least once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from rollguard.notify.event import Event, Notifier
from rollguard.store import ExecutionStore, PendingNotification

logger = logging.getLogger(__name__)

_FIRST_RETRY = timedelta(seconds=10)
_LAST_RETRY = timedelta(hours=1)


class Dispatcher:
    """Sends pending events to the channels. A channel that fails is tried again with growing pauses, up to an hour.

    Args:
        store: whose outbox holds the events.
        notifiers: the channels; their names must differ.
    """

    def __init__(self, store: ExecutionStore, notifiers: Sequence[Notifier]) -> None:
        self._outbox = store.outbox
        self._notifiers = tuple(notifiers)

    def deliver(self, now: datetime) -> int:
        """Send what is due.

        Returns:
            How many events every channel has now acknowledged.
        """
        return sum(self._deliver(pending, now) for pending in self._outbox.take_due(now))

    def _deliver(self, pending: PendingNotification, now: datetime) -> bool:
        event = Event.from_dict(pending.event)
        reached = list(pending.delivered_to)
        errors = []
        for notifier in self._notifiers:
            if notifier.name in reached:
                continue
            try:
                notifier.notify(event)
            except Exception as error:  # noqa: BLE001 - a channel may be anybody's code; its fault must not stop the others
                logger.error("%s could not be told of %r: %s", notifier.name, event.title, error)
                errors.append(f"{notifier.name}: {error}")
            else:
                reached.append(notifier.name)
        if errors:
            pause = min(_FIRST_RETRY * 2 ** min(pending.attempts - 1, 20), _LAST_RETRY)
            self._outbox.retry(pending.notification_id, reached, "; ".join(errors), now + pause)
            return False
        self._outbox.delivered(pending.notification_id, reached, now)
        return True
