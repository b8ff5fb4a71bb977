"""Bringing the last good version back: claim, restore, finish; and what failed, for whoever looks into it."""

from rollguard.rollback.investigation import investigation_of
from rollguard.rollback.runner import RollbackRunner

__all__ = ["RollbackRunner", "investigation_of"]
