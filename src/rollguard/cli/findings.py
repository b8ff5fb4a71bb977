"""What `rollguard doctor` finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Health(StrEnum):
    """How bad a finding is. `broken`: something does not work, or will fail when it is needed."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. The attributes are the keys of `rollguard doctor --json`.

    Attributes:
        check: what was checked.
        health: ok, warning or broken.
        says: what was found, with the names and numbers.
        fix: how to fix it; None if nothing needs fixing.
    """

    check: str
    health: Health
    says: str
    fix: str | None = None


def ok(check: str, says: str) -> Finding:
    """Return that a check found nothing wrong."""
    return Finding(check, Health.OK, says)


def warning(check: str, says: str, fix: str) -> Finding:
    """Return what may be intended, or will matter later."""
    return Finding(check, Health.WARNING, says, fix)


def broken(check: str, says: str, fix: str) -> Finding:
    """Return what does not work."""
    return Finding(check, Health.BROKEN, says, fix)


def few(files: Sequence[Path | str]) -> str:
    """Return the first files of a list."""
    return ", ".join(map(str, files[:5])) + (", …" if len(files) > 5 else "")
