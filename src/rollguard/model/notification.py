"""Notifications that are not delivered yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PendingNotification:
    """An event that not every channel has acknowledged yet."""

    notification_id: int
    event: dict[str, Any]
    delivered_to: tuple[str, ...]
    attempts: int
