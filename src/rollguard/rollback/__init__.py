"""Restore the last good version: claim, restore, finish, verify; and the investigation of what failed."""

from rollguard.rollback.executor import RollbackRunner
from rollguard.rollback.investigation import investigation_of
from rollguard.rollback.quarantine_watch import notice_quarantined_files
from rollguard.rollback.verification import verify_all

__all__ = ["RollbackRunner", "investigation_of", "notice_quarantined_files", "verify_all"]
