"""Sessions: how deployments are monitored, checked and explained."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from rollguard.model.session import Session
from rollguard.service.api.common import (
    WRITES,
    Cursor,
    Given,
    Guarded,
    Limit,
    Number,
    OptionalTool,
    Page,
    Reason,
    api_router,
    number_of,
    page,
    problems,
)
from rollguard.service.auth import Operating, Reading

router = api_router("/api/v1/sessions", "sessions")

Status = Literal["active", "completed", "rolled_back", "superseded", "cancelled"]


class SessionShown(BaseModel):
    """The monitoring of one deployment."""

    session_id: int
    tool_name: str
    version_number: int | None
    deployment_time: datetime
    monitoring_started_at: datetime
    window_end: datetime
    status: Status
    outcome: str | None = Field(description="Of a completed one: healthy, unproven or regressed.")
    completed_at: datetime | None
    notes: str | None
    release_id: int | None
    creeping: str | None
    baseline_notes: list[str]
    rules: dict[str, Any] = Field(description="The rules that it is judged by.")
    invalid_rules: str | None


class Check(BaseModel):
    """One health check."""

    check_id: int
    tool_name: str
    session_id: int | None
    checked_at: datetime
    verdict: str | None = Field(examples=["healthy", "regressed", "insufficient_data", "external", "error"])
    needs_rollback: bool
    reasons: Any = Field(description="Sentences with numbers.", examples=[["95.00 % of 1,000 calls succeeded before"]])
    regression_detected: bool
    regression_severity: str | None
    success_rate_drop: float | None
    duration_change: float | None
    performance_degradation: bool
    silent_since: datetime | None
    baseline_success_rate: float | None
    baseline_total_executions: int | None
    baseline_avg_duration_ms: float | None
    baseline_p50_ms: float | None
    baseline_p95_ms: float | None
    baseline_p99_ms: float | None
    current_success_rate: float | None
    current_total_executions: int | None
    current_avg_duration_ms: float | None
    current_p50_ms: float | None
    current_p95_ms: float | None
    current_p99_ms: float | None
    record: Any = Field(description="What the verdict can be computed from again.")


class Cancel(Given):
    """Why a deployment is no longer to be monitored."""

    reason: Reason


def shown(session: Session) -> SessionShown:
    """Return a session as callers see it."""
    names = {field.name for field in fields(session)} & SessionShown.model_fields.keys()
    values = {name: getattr(session, name) for name in names}
    changed = {"rules": session.rules.to_dict(), "baseline_notes": list(session.baseline_notes)}
    return SessionShown.model_validate({**values, **changed, "window_end": session.window_end})


@router.get("")
def list_sessions(
    guard: Guarded,
    _caller: Reading,
    tool: OptionalTool = None,
    status: Annotated[Status | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[SessionShown]:
    """List the sessions, newest first: which deployments were monitored, and with which result."""
    found = guard.store.sessions.recent(tool_name=tool, status=status, limit=limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one.session_id), shown)


@router.get("/{session_id}", responses=problems(404))
def get_session(guard: Guarded, _caller: Reading, session_id: Number) -> SessionShown:
    """Return one session."""
    return shown(guard.store.sessions.get(session_id))


@router.get("/{session_id}/checks", responses=problems(404))
def list_checks(
    guard: Guarded, _caller: Reading, session_id: Number, limit: Limit = 50, cursor: Cursor = None
) -> Page[Check]:
    """List the checks of a session, newest first."""
    guard.store.sessions.get(session_id)
    found = guard.store.sessions.checks(session_id, limit + 1, before=number_of(cursor))
    return page(found, limit, lambda one: str(one["check_id"]), Check.model_validate)


@router.get("/{session_id}/explain", responses=problems(404))
def explain(guard: Guarded, _caller: Reading, session_id: Number) -> dict[str, Any]:
    """Say why a deployment was or was not rolled back. Each kept decision is computed again from its record."""
    from rollguard.monitor.explain import explain as explained

    return explained(guard.store, session_id)


@router.post("/{session_id}/check", responses=problems(404))
def check_now(guard: Guarded, _caller: Operating, session_id: Number) -> dict[str, Any]:
    """Check a deployment now, and return the report. Nothing is rolled back."""
    session = guard.store.sessions.get(session_id)
    return guard.monitor.check_health(session.tool_name, session_id)


@router.post("/{session_id}/cancel", responses=WRITES)
def cancel(guard: Guarded, caller: Operating, session_id: Number, wanted: Cancel) -> SessionShown:
    """Stop monitoring a deployment. The live version stays live."""
    return shown(guard.monitor.cancel_monitoring(session_id, f"{wanted.reason} ({caller.name})"))
