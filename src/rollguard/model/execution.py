"""Executions of tools."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed execution, as an investigation reads it."""

    tool_name: str
    execution_id: str | None
    executed_at: datetime
    version_number: int | None
    error_type: str | None
    error: str | None
    parameters: str | None
