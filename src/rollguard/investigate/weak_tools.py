"""Find weak tools in a store: their opportunities, from the rollups alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from rollguard.investigate.opportunities import DAYS, LOW, RECENT, LeftAlone, Opportunity, ranked
from rollguard.model.given import checked_now
from rollguard.store import ExecutionStore


def find_opportunities(
    store: ExecutionStore,
    *,
    now: datetime | None = None,
    held: Mapping[str, Iterable[LeftAlone]] | None = None,
    low: float = LOW,
    fewest: int = 1,
) -> list[Opportunity]:
    """Return which tools are worth an improvement, those that cost most first.

    Args:
        store: the executions.
        now: the present moment; the clock's by default.
        held: further reasons to leave tools alone, such as a freeze or a cool-down.
        low: a success rate that is certainly below this is low.
        fewest: tools with fewer calls are left out.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    moment = checked_now(now)
    store.fold()
    hour = moment.replace(minute=0, second=0, microsecond=0)
    recent = hour - RECENT
    uses = store.by_tool.uses(hour - timedelta(days=DAYS), recent)
    known = store.investigations
    found = (
        (LeftAlone.UNDER_MONITORING, known.monitored()),
        (LeftAlone.CAPPED, known.capped(recent)),
        (LeftAlone.OUTSIDE_CAUSE, known.outside(recent)),
    )
    left_alone = {
        name: [*(held or {}).get(name, ()), *(reason for reason, names in found if name in names)] for name in uses
    }
    return ranked(uses, moment, left_alone, low=low, fewest=fewest)
