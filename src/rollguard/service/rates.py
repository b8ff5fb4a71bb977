"""Limit how much each caller sends in a minute."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from rollguard.service.problems import Refused

_MOST = 10_000  # callers that are remembered
_MINUTE = 60.0


class Rates:
    """A bucket of requests and one of rows for each caller. Both are full at first, and fill again in a minute.

    Each process counts for itself.

    Args:
        requests, rows: how many a caller may send in a minute.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, requests: int, rows: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._requests, self._rows, self._clock = requests, rows, clock
        self._left: dict[tuple[str, int], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take_request(self, key: str) -> None:
        """Count a request. Raise `Refused` if the caller sent too many."""
        self._take((key, self._requests), 1, "requests")

    def take_rows(self, key: str, rows: int) -> None:
        """Count rows. Raise `Refused` if the caller sent too many; one request may always send what fits a minute."""
        self._take((f"{key} rows", self._rows), rows, "executions")

    def _take(self, bucket: tuple[str, int], number: int, what: str) -> None:
        limit, now = bucket[1], self._clock()
        with self._lock:
            left, at = self._left.pop(bucket, (float(limit), now))
            left = min(limit, left + (now - at) * limit / _MINUTE)
            fits = left >= min(number, limit)
            if len(self._left) >= _MOST:
                self._left.pop(next(iter(self._left)))
            self._left[bucket] = (max(0.0, left - number) if fits else left), now
        if not fits:
            seconds = max(1, math.ceil((min(number, limit) - left) * _MINUTE / limit))
            detail = f"more than {limit:,} {what} in a minute; send them again in {seconds} s"
            raise Refused(429, detail, {"Retry-After": str(seconds)})
