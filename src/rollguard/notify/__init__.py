"""Telling people: one event type, one protocol, many channels."""

from rollguard.notify.channels import LogNotifier, NotDelivered, Unreachable, WebhookNotifier
from rollguard.notify.dispatcher import Dispatcher
from rollguard.notify.event import Event, EventKind, Level, Notifier

__all__ = [
    "Dispatcher",
    "Event",
    "EventKind",
    "Level",
    "LogNotifier",
    "NotDelivered",
    "Notifier",
    "Unreachable",
    "WebhookNotifier",
]
