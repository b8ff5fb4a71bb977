"""Column types that read and write the same on both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, Integer, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from rollguard.model.log import logger_of

logger = logger_of(__name__)

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows itself only in an INTEGER column

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), 1_000_000

# Executions by the bucket of their duration: {{buckets}, {executions}} on PostgreSQL, {"bucket": executions} on SQLite.
Histogram = ARRAY(BigInteger).with_variant(Text, "sqlite")


def utc(moment: datetime) -> datetime:
    """Return the moment as an aware UTC datetime. A naive datetime is local time, as everywhere in Python."""
    return moment.astimezone(UTC)


def sqlite_text(moment: datetime) -> str:
    """Return a moment in UTC as `UTCDateTime` stores it on SQLite, for statements run by the driver itself."""
    # Twice as fast as isoformat, and it runs for every execution.
    return "%04d-%02d-%02d %02d:%02d:%02d.%06d" % (  # noqa: UP031
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
    )


def sqlite_texts(microseconds: Sequence[int]) -> list[str]:
    """Return many moments, given in microseconds since 1970, as `sqlite_text` does: in half the time."""
    if min(microseconds, default=0) < _SECOND:  # `str` shows fewer than six digits, or a sign
        return [sqlite_text(_EPOCH + timedelta(microseconds=each)) for each in microseconds]
    seconds = {each // _SECOND for each in microseconds}
    starts = {each: sqlite_text(_EPOCH + timedelta(seconds=each))[:20] for each in seconds}
    return [starts[each // _SECOND] + str(each)[-6:] for each in microseconds]


class UTCDateTime(TypeDecorator[datetime]):
    """A moment: TIMESTAMP WITH TIME ZONE on PostgreSQL, 'YYYY-MM-DD HH:MM:SS.ffffff' in UTC on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True
    python_type = datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = utc(value)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """On SQLite another program may have stored anything: what is no time is None."""
        read = super().result_processor(dialect, coltype)
        if dialect.name != "sqlite" or read is None:
            return read

        def tolerant(value: Any) -> datetime | None:
            try:
                return read(value)
            except (TypeError, ValueError):
                logger.warning("a time in the database counts as none, because it is %.80r", value)
                return None

        return tolerant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_encode = json.JSONEncoder(separators=(",", ":")).encode  # created once; `json.dumps` would create it for each value


class JsonText(TypeDecorator[Any]):
    """A small JSON document that Rollguard writes, stored as text so that it reads the same in every client.

    What another program wrote in its place and is no JSON is None.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        try:
            return None if value is None else json.loads(value)
        except (TypeError, ValueError, RecursionError):
            logger.warning("JSON in the database counts as none, because it is %.80r", value)
            return None
