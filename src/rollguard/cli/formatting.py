"""The formats of the command line are those of the pages; see `rollguard.model.formatting`."""

from rollguard.model.formatting import (
    NOTHING,
    ago,
    change_percent,
    change_points,
    counted,
    drop_points,
    duration,
    everyday,
    exactly,
    labelled,
    milliseconds,
    moment,
    percent,
)

__all__ = [
    "NOTHING",
    "ago",
    "change_percent",
    "change_points",
    "counted",
    "drop_points",
    "duration",
    "everyday",
    "exactly",
    "labelled",
    "milliseconds",
    "moment",
    "percent",
]
