"""Show the kinds of errors that an investigation found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollguard.cli.table import CUT, Table

_MOST, _LONGEST = 5, 300


def kinds_since(investigation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the kinds of errors that came since the deployment, the most frequent first."""
    return [kind for kind in investigation["signatures"] if kind["samples"]]


def errors_table(kinds: Sequence[dict[str, Any]]) -> Table:
    """Return the kinds as a table, each by its latest text."""
    rows = [(f"{kind['count']:,}", f"{kind['count_before']:,}", _latest(kind)) for kind in kinds[:_MOST]]
    return Table(("Since>", "Before>", "Latest error~"), rows)


def others(kinds: Sequence[dict[str, Any]]) -> int:
    """Return how many kinds the table leaves out."""
    return max(0, len(kinds) - _MOST)


def error_of(error_type: str | None, error: str | None) -> str | None:
    """Return an error as its type and its text, which may begin with the type."""
    if not error or not error_type or error.startswith(error_type):
        return error or error_type
    return f"{error_type}: {error}"


def _latest(kind: dict[str, Any]) -> str:
    error = kind["samples"][0]["error"]
    text = str(error_of(kind["error_type"] or "failure", error) if error else kind["signature"])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}{CUT}"
