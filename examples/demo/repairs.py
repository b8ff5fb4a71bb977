"""An improver of the demo: it stands for a coding agent, and repairs one kind of mistake."""

from __future__ import annotations

from rollguard.improve import Brief


def without_commas(brief: Brief) -> str | None:
    """Return the source with commas taken out of amounts; None if that is not the cause."""
    if "float(amount)" not in brief.source:
        return None
    return brief.source.replace("float(amount)", 'float(amount.replace(",", ""))')
