"""Find weak tools in a store: their opportunities, from the rollups alone."""

from __future__ import annotations

from datetime import datetime, timedelta

from rollguard.investigate.opportunities import DAYS, LOW, RECENT, LeftAlone, Opportunity, ranked
from rollguard.model.given import checked_now
from rollguard.store import ExecutionStore


def find_opportunities(
    store: ExecutionStore,
    *,
    now: datetime | None = None,
    low: float = LOW,
    fewest: int = 1,
) -> list[Opportunity]:
    """Return which tools are worth an improvement, those that cost most first.

    Args:
        store: the executions.
        now: the present moment; the clock's by default.
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
    known, frozen = store.investigations, store.freezes.all()
    found = (
        (LeftAlone.FROZEN, uses if None in frozen else frozen),
        (LeftAlone.UNDER_MONITORING, known.monitored()),
        (LeftAlone.CAPPED, known.capped(recent)),
        (LeftAlone.OUTSIDE_CAUSE, known.outside(recent)),
    )
    left_alone = {name: [reason for reason, names in found if name in names] for name in uses}
    cooling = store.attempts.cooling_down(moment)
    return ranked(uses, moment, left_alone, cooling=cooling, low=low, fewest=fewest)
