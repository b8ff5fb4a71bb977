"""The stage that finds weak tools and begins an attempt for each."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rollguard.investigate import LeftAlone, Opportunity, find_opportunities
from rollguard.loop.improvement.work import Improvement
from rollguard.model.given import checked_now
from rollguard.store import Caps, Finding


class FindStage:
    """Finds weak tools, those that cost most first, and begins an attempt for each that may be improved now.

    Args:
        parts: what it works with.
    """

    name = "find"
    beside_monitoring = True

    def __init__(self, parts: Improvement) -> None:
        self._parts = parts
        self.interval_seconds = parts.rules.check_interval_seconds
        self.worker = f"find-{platform.node() or 'host'}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def run(self, now: datetime | None) -> dict[str, int]:
        """Begin attempts, and count the cycle."""
        store, rules, moment = self._parts.store, self._parts.rules, checked_now(now)
        caps = Caps(rules.max_attempts_per_tool, rules.max_attempts_per_day, rules.max_tokens_per_day)
        budget = {"tokens": rules.max_tokens_per_attempt, "tries": rules.max_tries}
        begun = 0
        for found in self._to_improve(moment):
            live = store.versions.live(found.tool_name)
            if live is None:
                continue
            base = store.versions.get(found.tool_name, live.version_number)
            finding = Finding(
                found.tool_name,
                str(found.kind),
                str(found.priority),
                found.reason,
                base.version_number,
                base.sha256,
                budget,
            )
            begun += store.attempts.begin(finding, caps, by=self.name, now=moment) is not None
        store.loop_statistics.count({"cycles_completed": 1}, moment)
        return {"opportunities_detected": begun}

    def _to_improve(self, now: datetime) -> Iterator[Opportunity]:
        seen: set[str] = set()
        for planned in plan(self._parts, now):
            found = planned.opportunity
            if planned.left_alone is None and found.tool_name not in seen:
                seen.add(found.tool_name)
                yield found


@dataclass(frozen=True, slots=True)
class Planned:
    """An opportunity, and why the loop leaves it alone; None if it would begin an attempt."""

    opportunity: Opportunity
    left_alone: str | None


def plan(parts: Improvement, now: datetime) -> list[Planned]:
    """Return the opportunities, those that cost most first, and which of them the loop would work on."""
    store, rules = parts.store, parts.rules
    busy = store.attempts.busy()
    found = find_opportunities(
        store, now=now, low=rules.improvement_threshold, fewest=rules.min_executions_for_analysis
    )
    return [Planned(one, _left_alone(one, rules.tools, busy)) for one in found]


def _left_alone(found: Opportunity, tools: tuple[str, ...], busy: set[str]) -> str | None:
    reasons: Mapping[str, bool] = {
        str(LeftAlone.FROZEN): found.left_alone is LeftAlone.FROZEN,
        "an attempt is open": found.tool_name in busy,
        str(found.left_alone): found.left_alone is not None,
        "not among [loop] tools": bool(tools) and found.tool_name not in tools,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
