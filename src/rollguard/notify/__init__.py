"""Notify people: one event type, one protocol, one file per channel."""

from rollguard.notify.apprise import AppriseNotifier
from rollguard.notify.cloudevents import CloudEventsNotifier
from rollguard.notify.dispatcher import Dispatcher
from rollguard.notify.log import LogNotifier
from rollguard.notify.notifier import NotDelivered, Notifier, Unreachable
from rollguard.notify.webhook import WebhookNotifier

__all__ = [
    "AppriseNotifier",
    "CloudEventsNotifier",
    "Dispatcher",
    "LogNotifier",
    "NotDelivered",
    "Notifier",
    "Unreachable",
    "WebhookNotifier",
]
