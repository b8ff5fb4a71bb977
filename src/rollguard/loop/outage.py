"""Tell that the database is away: at once, then once a minute, and when it is back, however many stages miss it."""

from __future__ import annotations

from rollguard.errors import StoreUnavailable
from rollguard.model.log import logger_of

logger = logger_of(__name__)

AGAIN = 60.0  # seconds between two lines on the same outage
_MOST = 10  # lines on different errors of one outage, beside those


class Outage:
    """An outage of the database, as the stages of a loop meet it. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._missed_by: set[str] = set()
        self._errors: set[str] = set()
        self._since, self._said = 0.0, 0.0

    def met(self, stage: str, error: StoreUnavailable, now: float) -> None:
        """Note that a stage could not reach the database.

        Args:
            now: seconds of a clock that never goes back.
        """
        begins, text = not self._missed_by, str(error)
        if begins:
            self._since = now
        self._missed_by.add(stage)
        is_new = text not in self._errors and len(self._errors) < _MOST
        if is_new:
            self._errors.add(text)
        if is_new or now - self._said >= AGAIN:
            self._said = now
            lasting = "" if begins else f" for {now - self._since:.0f} s now"
            stages = ", ".join(sorted(self._missed_by))
            logger.error("the database cannot be used%s, and these stages wait for it: %s: %s", lasting, stages, error)

    def passed(self, stage: str, now: float) -> None:
        """Note that a stage has done its work; the outage is over if it was one of those that missed the database."""
        if stage in self._missed_by:
            self._missed_by.clear()
            self._errors.clear()
            logger.warning("the database can be used again, after %.0f s", now - self._since)
