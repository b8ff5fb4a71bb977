"""The store of the tools that record themselves; it imports nothing, for the child that finds out whether one loads."""

from typing import Any

OPEN: list[Any] = []
