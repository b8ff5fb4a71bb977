"""The report of an investigation: what failed, since when, and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rollguard.investigate.causes import Cause


@dataclass(frozen=True, slots=True)
class Report:
    """What an investigation found.

    Attributes:
        tool_name: the tool.
        version_number: the version that was investigated; None is every one.
        investigated_at: when, ISO 8601 in UTC.
        calls, failures: calls that were read, and how many of them failed.
        signatures: the kinds of failures, the most frequent first.
        causes: what failing calls have in common, the one that explains most first; at least one.
        latency: durations in milliseconds of calls that succeeded and that failed: `calls`, `mean`, `p50`, `p95`.
        source: the code around the failing line of the first signature, and the diff that brought it.
        smallest: the smallest failing input, if the tool may be run.
        notes: what was not looked at, and why.
    """

    tool_name: str
    version_number: int | None
    investigated_at: str
    calls: int
    failures: int
    signatures: list[dict[str, Any]]
    causes: list[Cause]
    latency: dict[str, dict[str, Any]]
    source: dict[str, Any] | None
    smallest: dict[str, Any] | None
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain, JSON-safe values."""
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**named, "causes": [cause.to_dict() for cause in self.causes]}

    def to_markdown(self) -> str:
        """Return the report as Markdown. Recorded texts are in code, so that they stay text."""
        version = "" if self.version_number is None else f", version {self.version_number}"
        parts = [
            f"# Why {self.tool_name} fails{version}",
            f"{self.failures:,} of {self.calls:,} calls that were read failed.",
            "## Causes",
            "\n".join(map(_cause, self.causes)),
        ]
        if self.signatures:
            parts += ["## What failed", "\n".join(map(_signature, self.signatures))]
        if self.smallest is not None:
            parts += ["## Smallest failing input", _fenced(json.dumps(self.smallest, ensure_ascii=False, indent=2))]
        if self.source is not None:
            parts += [f"## Code of version {self.source['version_number']}", _fenced(self.source["text"])]
            if self.source["diff"]:
                parts += [f"Version {self.source['brought_by']} brought it:", _fenced(self.source["diff"])]
        if self.notes:
            parts += ["## Notes", "\n".join(f"- {note}" for note in self.notes)]
        return "\n\n".join(parts) + "\n"


def in_words(cause: Cause) -> str:
    """Return a cause with its numbers in one line."""
    if cause.kind == "none":
        return cause.predicate
    counts = f"{cause.failures:,} of {cause.calls:,} calls failed, q = {cause.q_value:.2g}"
    tried = {None: "", True: "; confirmed by running it", False: "; not confirmed by running it"}[cause.confirmed]
    return f"{cause.predicate} ({counts}{tried})"


def _cause(cause: Cause) -> str:
    return f"- {_code(in_words(cause))}"


def _signature(entry: dict[str, Any]) -> str:
    since = "" if entry["version_number"] is None else f", since version {entry['version_number']}"
    return f"- {entry['count']:,} × {_code(entry['signature'])}{since}, last {entry['last_seen']}"


def _code(text: str) -> str:
    one_line = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in _runs(one_line)), default=0))
    pad = " " if "`" in one_line else ""
    return f"{fence}{pad}{one_line}{pad}{fence}"


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in _runs(text)), default=0))
    return f"{fence}\n{text.rstrip()}\n{fence}"


def _runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
