"""What is weak, and why: opportunities and investigations. And who watches."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from rollguard.investigate import find_opportunities
from rollguard.model.watcher import Coverage, WatcherState
from rollguard.service.api.common import WRITES, Given, Guarded, Label, Limit, OneTool, ToolName, api_router
from rollguard.service.auth import Operating, Reading

router = api_router("/api/v1", "weaknesses")


class OpportunityShown(BaseModel):
    """A tool that is worth an improvement."""

    tool_name: str
    kind: str
    priority: str
    calls_lost_per_day: float
    seconds_lost_per_day: float
    left_alone: str | None
    reason: str


class NewInvestigation(Given):
    """A tool whose failures are to be investigated."""

    tool_name: ToolName
    version: Label | None = None


class WatcherShown(BaseModel):
    """A running loop."""

    watcher_id: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    checked_at: datetime | None
    interval_seconds: float
    state: WatcherState


class Watchers(BaseModel):
    """Who checks the active sessions."""

    coverage: Coverage
    watchers: list[WatcherShown]


@router.get("/opportunities")
def list_opportunities(guard: Guarded, _caller: Reading) -> list[OpportunityShown]:
    """List the tools that are worth an improvement, those that cost most first, and why one is left alone."""
    found = find_opportunities(guard.store)
    return [OpportunityShown.model_validate(one.to_dict() | {"reason": one.reason}) for one in found]


@router.get("/investigations")
def list_investigations(guard: Guarded, _caller: Reading, tool: OneTool, limit: Limit = 10) -> list[dict[str, Any]]:
    """List the kept reports about why a tool fails, newest first."""
    return guard.store.investigations.recent(tool, limit)


@router.post("/investigations", status_code=201, response_description="The report, which is kept.", responses=WRITES)
def investigate(guard: Guarded, _caller: Operating, wanted: NewInvestigation) -> dict[str, Any]:
    """Find out why a tool fails: what failing calls have in common, since which version, and in which line."""
    version = wanted.version
    number = None if version is None else guard.store.versions.get(wanted.tool_name, version).version_number
    return guard.investigator.investigate(wanted.tool_name, number).to_dict()


@router.get("/watchers")
def list_watchers(guard: Guarded, _caller: Reading) -> Watchers:
    """List the running loops, and say whether anybody checks the sessions."""
    watching = guard.store.watchers.watching()
    interval = timedelta(seconds=guard.settings.watch.check_interval_seconds)
    found = [WatcherShown.model_validate({**asdict(one), "state": one.state}) for one in watching.watchers]
    return Watchers(coverage=watching.coverage(interval), watchers=found)
