"""Group failures by their signature: the error's type, its message without the variable parts, and where it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Order matters: the longest parts first.
_VARIABLE_PARTS = (
    (re.compile(r"0x[0-9a-fA-F]+"), "<address>"),
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\""), "<text>"),
    (re.compile(r"(?<![\w<])[-+]?\d(?:[\d.,:eE+-]*\d)?"), "<number>"),
)


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed execution in an investigation. `sample` is what the investigation shows of it.

    `place` is the line of the tool's own code that failed: `function`, `line` and `text`. The number changes with each
    version, so the text counts.
    """

    error_type: str | None
    error: str | None
    sample: dict[str, Any]
    place: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Return what failures with the same cause share."""
        found = signature(self.error_type, self.error)
        return found if self.place is None else f"{found} in {self.place['function']}: {self.place['text']}"


def signature(error_type: str | None, error: str | None) -> str:
    """Return the signature of one failure, for example `KeyError: <text>`."""
    message = (error or "").strip().splitlines()[0] if (error or "").strip() else ""
    for pattern, name in _VARIABLE_PARTS:
        message = pattern.sub(name, message)
    kind = error_type or "failure"
    if not message or message.startswith(f"{kind}:"):
        return message or kind
    return f"{kind}: {message}"[:300]


def investigate(before: Iterable[Failed], since: Iterable[Failed], samples: int = 3) -> list[dict[str, Any]]:
    """Count the error signatures since the deployment and before it, the most frequent since then first.

    Args:
        before, since: failures of the two windows, latest first.
        samples: number of the latest failures of each signature to return as samples.

    Returns:
        For each signature: `signature`, `error_type`, `failed_at`, `count` (since), `count_before`, `new`, `samples`.
    """
    found: dict[str, dict[str, Any]] = {}
    for failures, key in ((since, "count"), (before, "count_before")):
        for failure in failures:
            name = failure.name
            entry = found.setdefault(
                name,
                {
                    "signature": name,
                    "error_type": failure.error_type,
                    "failed_at": failure.place,
                    "count": 0,
                    "count_before": 0,
                    "samples": [],
                },
            )
            entry[key] += 1
            if key == "count" and len(entry["samples"]) < samples:
                entry["samples"].append(failure.sample)
    for entry in found.values():
        entry["new"] = entry["count_before"] == 0
    return sorted(found.values(), key=lambda e: (-e["count"], e["count_before"], e["signature"]))
