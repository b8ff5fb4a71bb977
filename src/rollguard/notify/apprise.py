"""The channels of Apprise: mail, Slack, PagerDuty, and more than a hundred others."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from rollguard.errors import InvalidInput
from rollguard.model.event import Event, Level
from rollguard.notify.message import message_of
from rollguard.notify.notifier import NotDelivered

GROUP_SECONDS = 60.0


class AppriseNotifier:
    """Writes to people by one of Apprise's URLs, such as `mailto://` or `slack://`.

    The first event is sent at once. Those that follow within `group_seconds` are sent together when these have passed,
    so that fifty tools that fail at once are one message or two, and not fifty.

    Args:
        url: a URL of Apprise. It holds secrets, so it is neither stored nor logged.
        base_url: where the pages are; messages link to them.
        group_seconds: the least time between two messages.

    Raises:
        InvalidInput: Apprise is not installed, or cannot read the URL.
    """

    def __init__(self, url: str, *, base_url: str = "", group_seconds: float = GROUP_SECONDS) -> None:
        try:
            from apprise import Apprise
        except ModuleNotFoundError as error:
            raise InvalidInput(
                'apprise: it is not installed; install it with: pip install "rollguard[alerts]"'
            ) from error
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its lines show parts of the URL
        self._apprise = Apprise()
        if not self._apprise.add(url):
            kind = url.partition("://")[0][:20] if "://" in url else "one of them"
            raise InvalidInput(f"apprise: it cannot read the URL of {kind}; see https://appriseit.com for its form")
        for channel in self._apprise:
            if group_seconds >= channel.request_rate_per_sec:  # Apprise would wait between two messages, too
                channel.request_rate_per_sec = 0
        digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        self._name = f"apprise {url.partition(':')[0]} {digest[:8]}"
        self._base_url, self.group_seconds = base_url, group_seconds

    @property
    def name(self) -> str:
        """Return `apprise`, the kind of channel, and a digest of the URL, which tells several apart."""
        return self._name

    def notify(self, event: Event) -> None:
        """Send one event.

        Raises:
            NotDelivered: the channel did not take it.
        """
        self.notify_together([event])

    def notify_together(self, events: Sequence[Event]) -> None:
        """Send some events as one message.

        Raises:
            NotDelivered: the channel did not take it.
        """
        from apprise import NotifyType

        kinds = {Level.INFO: NotifyType.INFO, Level.WARNING: NotifyType.WARNING, Level.CRITICAL: NotifyType.FAILURE}
        message = message_of(events, self._base_url)
        if not self._apprise.notify(title=message.title, body=message.body, notify_type=kinds[message.level]):
            raise NotDelivered(f"{self.name} did not take the message; check its URL, and that the service answers")
