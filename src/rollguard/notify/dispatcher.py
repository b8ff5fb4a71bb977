"""Deliver the events of the outbox to every channel, at least once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import InvalidInput, RollguardError
from rollguard.model.event import Event
from rollguard.model.log import EXITS, logger_of
from rollguard.model.notification import PendingNotification
from rollguard.notify.notifier import Grouping, Notifier, Unreachable
from rollguard.store import ExecutionStore
from rollguard.store.executions.payloads import clean_text
from rollguard.store.outbox import LONGEST_PAUSE

logger = logger_of(__name__)

_FIRST_RETRY = timedelta(seconds=10)

_Outcomes = dict[int, str | datetime | None]
"""By notification: the error, or until when it is held, or None if it was delivered."""


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
        self._quiet_until: dict[str, datetime] = {}  # by channel that groups: when its next message may be sent
        if len(self._notifiers) < len(notifiers):
            names = ", ".join(notifier.name for notifier in notifiers)
            raise InvalidInput(f"notifiers: each needs a name of its own, since delivery is remembered by it: {names}")

    def deliver(self, now: datetime) -> int:
        """Send the events that are due.

        Returns:
            The number of events that every channel has now acknowledged.
        """
        down: dict[str, str] = {}
        due = self._outbox.take_due(now)
        together = {
            name: self._send_together(notifier, due, now)
            for name, notifier in self._notifiers.items()
            if isinstance(notifier, Grouping) and notifier.group_seconds > 0
        }
        return sum(self._deliver(pending, now, down, together) for pending in due)

    def _deliver(
        self, pending: PendingNotification, now: datetime, down: dict[str, str], together: Mapping[str, _Outcomes]
    ) -> bool:
        reached = list(pending.delivered_to)
        errors, held = [], []
        for name, notifier in self._notifiers.items():
            if name in reached:
                continue
            if name in together:
                error = together[name][pending.notification_id]
            else:  # Rollguard waits for an unreachable channel once a round, not once an event.
                error = down.get(name) or self._send(notifier, pending, name, down)
            if error is None:
                reached.append(name)
            elif isinstance(error, datetime):
                held.append(error)
            else:
                errors.append(f"{name}: {error}")
        if held and not errors:
            self._outbox.hold(pending.notification_id, reached, min(held))
            return False
        if errors:
            pause = min(_FIRST_RETRY * 2 ** min(pending.attempts - 1, 20), LONGEST_PAUSE)
            self._outbox.retry(pending.notification_id, reached, clean_text("; ".join(errors)), now + pause)
            return False
        self._outbox.delivered(pending.notification_id, reached, now)
        return True

    def _send_together(self, notifier: Grouping, due: Sequence[PendingNotification], now: datetime) -> _Outcomes:
        """Send what is due to one channel as one message, unless its last message was just before."""
        pending = [one for one in due if notifier.name not in one.delivered_to]
        until = self._quiet_until.get(notifier.name, now)
        if now < until:
            return {one.notification_id: until for one in pending}
        outcomes: _Outcomes = {}
        events: dict[int, Event] = {}
        for one in pending:
            try:
                events[one.notification_id] = self._safe(_event(one))
            except InvalidInput as invalid:
                outcomes[one.notification_id] = str(invalid)
        if events:
            error = self._tried(notifier.name, lambda: notifier.notify_together([*events.values()]), [*events], {})
            outcomes |= dict.fromkeys(events, error)
            if error is None:
                self._quiet_until[notifier.name] = now + timedelta(seconds=notifier.group_seconds)
        return outcomes

    def _send(self, notifier: Notifier, pending: PendingNotification, name: str, down: dict[str, str]) -> str | None:
        """Send the event to one channel, and return the error; None if it was delivered."""
        return self._tried(name, lambda: notifier.notify(self._safe(_event(pending))), [pending.notification_id], down)

    def _tried(self, name: str, send: Callable[[], None], numbers: list[int], down: dict[str, str]) -> str | None:
        try:
            send()
        except EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - a channel may be a user's code; its errors must not stop the others
            problem = _description(error)
            logger.error("%s could not deliver event %s: %s", name, ", ".join(map(str, numbers)), problem)
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
