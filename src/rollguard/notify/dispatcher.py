"""Deliver the events of the outbox to every channel, at least once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import InvalidInput, RollguardError
from rollguard.model.event import Event
from rollguard.model.log import EXITS, logger_of
from rollguard.model.notification import PendingNotification
from rollguard.notify.notifier import Notifier, Unreachable
from rollguard.store import ExecutionStore
from rollguard.store.executions.payloads import clean_text
from rollguard.store.outbox import LONGEST_PAUSE

logger = logger_of(__name__)

_FIRST_RETRY = timedelta(seconds=10)


class Dispatcher:
    """Sends pending events to the channels. It retries a channel that fails after growing pauses, up to an hour.

    Args:
        store: the store whose outbox holds the events.
        notifiers: the channels; their names must differ.
        parameters: whether events show what failed calls were given.

    Raises:
        InvalidInput: two channels have the same name.
    """

    def __init__(self, store: ExecutionStore, notifiers: Sequence[Notifier], *, parameters: bool = False) -> None:
        self._outbox, self._redaction, self._parameters = store.outbox, store.redaction, parameters
        self._notifiers = {notifier.name: notifier for notifier in notifiers}
        if len(self._notifiers) < len(notifiers):
            names = ", ".join(notifier.name for notifier in notifiers)
            raise InvalidInput(f"notifiers: each needs a name of its own, since delivery is remembered by it: {names}")

    def deliver(self, now: datetime) -> int:
        """Send the events that are due.

        Returns:
            The number of events that every channel has now acknowledged.
        """
        down: dict[str, str] = {}
        return sum(self._deliver(pending, now, down) for pending in self._outbox.take_due(now))

    def _deliver(self, pending: PendingNotification, now: datetime, down: dict[str, str]) -> bool:
        reached = list(pending.delivered_to)
        errors = []
        for name, notifier in self._notifiers.items():
            if name in reached:
                continue
            # Rollguard waits for an unreachable channel once a round, not once an event.
            error = down.get(name) or self._send(notifier, pending, name, down)
            if error is None:
                reached.append(name)
            else:
                errors.append(f"{name}: {error}")
        if errors:
            pause = min(_FIRST_RETRY * 2 ** min(pending.attempts - 1, 20), LONGEST_PAUSE)
            self._outbox.retry(pending.notification_id, reached, clean_text("; ".join(errors)), now + pause)
            return False
        self._outbox.delivered(pending.notification_id, reached, now)
        return True

    def _send(self, notifier: Notifier, pending: PendingNotification, name: str, down: dict[str, str]) -> str | None:
        """Send the event to one channel, and return the error; None if it was delivered."""
        try:
            notifier.notify(self._safe(_event(pending)))
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a channel may be a user's code; its errors must not stop the others
            problem = _description(error)
            logger.error("%s could not deliver event %d: %s", name, pending.notification_id, problem)
            if isinstance(error, Unreachable):
                down[name] = problem
            return problem
        return None

    def _safe(self, event: Event) -> Event:
        """Return the event without secrets, which another program or an earlier version may have stored."""
        text = self._redaction.text
        details = self._without_secrets(event.details)
        return replace(event, reasons=tuple(map(text, event.reasons)), details=details)

    def _without_secrets(self, value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: each for key, each in value.items() if self._parameters or key != "parameters"}
            return {key: self._without_secrets(each) for key, each in kept.items()}
        if isinstance(value, list):
            return [self._without_secrets(each) for each in value]
        return self._redaction.text(value) if isinstance(value, str) else value


def _event(pending: PendingNotification) -> Event:
    try:
        return Event.from_dict(pending.event)
    except Exception as error:
        fix = "correct or delete its row in notifications"
        raise InvalidInput(f"event {pending.notification_id} is none that Rollguard wrote; {fix}") from error


def _description(error: BaseException) -> str:
    kind = type(error).__name__
    try:
        text = clean_text(str(error))
    except Exception:  # noqa: BLE001 - a user's error may fail to describe itself
        return kind
    return text if isinstance(error, RollguardError) else f"{kind}: {text}" if text else kind
