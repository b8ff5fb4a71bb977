"""The channel that posts CloudEvents."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rollguard.errors import InvalidInput
from rollguard.model.event import Event
from rollguard.notify.message import message_of
from rollguard.notify.webhook import WebhookNotifier

_TYPE = "io.rollguard"


class CloudEventsNotifier(WebhookNotifier):
    """Sends each event as a CloudEvent 1.0 in structured mode: one JSON document, with the event as its data.

    `id` is the event's id, the same at every delivery; `type` is `io.rollguard.` and the kind; `subject` is the tool.

    Args:
        url: `http://` or `https://`.
        timeout: as for `WebhookNotifier`.
        secret: as for `WebhookNotifier`.
        base_url: where the pages are; it is the source of the events, and messages link to them.

    Raises:
        InvalidInput: the library is not installed, or the URL is invalid.
    """

    kind = "cloudevents"

    def __init__(self, url: str, *, timeout: float = 5.0, secret: str = "", base_url: str = "") -> None:
        super().__init__(url, timeout=timeout, secret=secret)
        try:
            import cloudevents.core  # noqa: F401 - whether it is installed
        except ModuleNotFoundError as error:
            raise InvalidInput(
                'cloudevents: it is not installed; install it with: pip install "rollguard[alerts]"'
            ) from error
        self._base_url = base_url

    def encoded(self, event: Event) -> tuple[bytes, Mapping[str, str]]:
        """Return the body and the headers for an event."""
        from cloudevents.core.bindings.http import to_structured_event
        from cloudevents.core.v1.event import CloudEvent

        message = message_of([event], self._base_url)
        attributes = {
            "id": event.event_id,
            "source": self._base_url or "rollguard",
            "type": f"{_TYPE}.{event.kind}",
            "time": datetime.fromisoformat(event.occurred_at),
            "datacontenttype": "application/json",
            **({"subject": event.tool_name} if event.tool_name else {}),
        }
        made = to_structured_event(CloudEvent(attributes, {**event.to_dict(), "message": message.body}))
        return bytes(made.body), {"Content-Type": "application/cloudevents+json"}
