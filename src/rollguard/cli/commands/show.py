"""`rollguard show`: a tool in one view, or one of its versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output, rollouts_shown
from rollguard.cli.chosen import latest_session
from rollguard.cli.commands.rollbacks import reason_of, versions_of
from rollguard.cli.commands.versions import Labels, Tool, state_of
from rollguard.cli.errors_shown import errors_table, kinds_since
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.table import Table
from rollguard.errors import UnknownTool
from rollguard.judge import reasons
from rollguard.model.formatting import ago, counted, drop_points, everyday, labelled, milliseconds, moment, percent

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.model.rollback import Rollback
    from rollguard.model.session import Session
    from rollguard.model.version import Deployment, VersionRecord

_MOST_CHECKS = 5


def show(
    tool: Tool,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[N]", help="A version, or a release's label, with its code.", show_default=False),
    ] = None,
    code_only: Annotated[
        bool, typer.Option("--code", help="Print only the code, byte for byte; by default that of the live version.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a tool: what is live, its session, the last checks and rollback, new errors. With N, that version."""
    if code_only and as_json:
        raise typer.BadParameter("--code prints the code as it is; leave out one of --code and --json")
    with opened(config, adopt=False) as guard:
        if code_only and version is None:
            version = str(_live_or_refused(guard, tool))
        if version is not None:
            found = guard.versions.get_version(tool, version)
            labels = guard.store.releases.labels(tool).get(found.version_number, ())
        else:
            _show_tool(guard, tool, as_json=as_json)
            return
    if code_only:
        output.emit_bytes(found.code)
    elif as_json:
        output.emit_json(
            {**output.record(found, "code"), "labels": labels, "code": found.code.decode("utf-8", "backslashreplace")}
        )
    else:
        _show_version(found, labels)


# --- a tool ----------------------------------------------------------------------------------------------------------


def _show_tool(guard: Rollguard, tool: str, *, as_json: bool) -> None:
    store, now = guard.store, datetime.now(UTC)
    live, session = store.versions.live(tool), latest_session(store, tool)
    if live is None and session is None and not store.listing.recent(tool, limit=1):
        raise UnknownTool(f"{tool} is not known: it was never deployed, and never called")
    checks = [] if session is None else store.sessions.checks(session.session_id, limit=_MOST_CHECKS)
    rollbacks = store.rollbacks.recent(tool_name=tool, limit=1)
    rollback = rollbacks[0] if rollbacks else None
    rollout = None if session is None else store.rollouts.of_sessions([session.session_id]).get(session.session_id)
    errors = [] if session is None else _errors(guard, session, now)
    if as_json:
        output.emit_json(
            {
                "tool_name": tool,
                "live": live,
                "session": None if session is None else output.record(session),
                "checks": [{name: value for name, value in check.items() if name != "record"} for check in checks],
                "rollout": None if rollout is None else rollouts_shown.as_json(store, rollout),
                "rollback": rollback,
                "errors": errors,
            }
        )
        return
    labels = store.releases.labels(tool)
    output.show(output.heading(_title(tool, live, labels, now)))
    if session is not None:
        _show_session(session, checks, now, beside=rollout is not None)
    else:
        output.lines("", "No deployment of it was monitored.")
    if rollout is not None:
        output.show("", output.heading(f"Rollout {rollout.rollout_id}: {rollout.ramp.state}"))
        output.bullets(rollouts_shown.about(store, rollout, checks[0] if checks else None))
    if rollback is not None:
        _show_rollback(rollback, checks, labels, now)
    new = [error for error in errors if error["new"]]
    if new:
        output.show("", output.heading(f"New errors of version {session.version_number if session else '?'}"))
        output.show(errors_table(new))
    output.lines("", f"Which calls failed: rollguard calls {tool} --failed")


def _title(tool: str, live: Deployment | None, labels: Labels, now: datetime) -> str:
    if live is None:
        return f"{tool}: no version of it is live"
    how = "restored by" if live.kind == "rollback" else "deployed by"
    when = f"{moment(live.deployed_at, now)} ({ago(live.deployed_at, now)})"
    version = labelled(live.version_number, labels.get(live.version_number, ()))
    return f"{tool}: version {version} is live, {how} {live.deployed_by} {when}"


def _show_session(session: Session, checks: list[dict[str, Any]], now: datetime, *, beside: bool) -> None:
    """Show a session and its last checks.

    Args:
        beside: whether its rollout is shown after it, with newer counts of both versions than those of the last check.
    """
    outcome = f", {session.outcome}" if session.outcome else ""
    version = "" if session.version_number is None else f" of version {session.version_number}"
    output.show("", output.heading(f"Session {session.session_id}{version}: {session.status}{outcome}"))
    if not checks:
        output.lines("It was not checked yet.")
        return
    rows = [
        (
            moment(check["checked_at"], now, seconds=True),
            check["verdict"],
            _counts(check),
            percent(check["current_success_rate"]),
            percent(check["baseline_success_rate"]),
            drop_points(check["success_rate_drop"]),
        )
        for check in checks
    ]
    output.show(Table(("Checked", "Verdict", "Calls>", "Success>", "Before>", "Drop>"), rows))
    said = checks[0]["reasons"] or ()
    output.bullets(everyday([reason for reason in said if not (beside and reasons.is_beside(reason))]))


def _counts(check: dict[str, Any]) -> str | None:
    total = check["current_total_executions"]
    return None if total is None else f"{total:,}"


def _show_rollback(rollback: Rollback, checks: list[dict[str, Any]], labels: Labels, now: datetime) -> None:
    title = f"Last rollback: {versions_of(rollback, labels)}, {rollback.state}, {ago(rollback.rollback_time, now)}"
    output.show("", output.heading(title))
    said = checks[0]["reasons"] or () if checks else ()  # the check that decided has the reason already
    why = [reason_of(rollback), rollback.verification_note]
    output.bullets(reason for reason in why if reason and reason not in said)


def _errors(guard: Rollguard, session: Session, now: datetime) -> list[dict[str, Any]]:
    """Return the kinds of errors since the deployment: as its rollback found them, or as they are now."""
    from rollguard.rollback.investigation import investigation_of

    rollback = guard.store.rollbacks.of_session(session.session_id)
    found = None if rollback is None else rollback.investigation
    if found is None:
        found = investigation_of(guard.store, session, min(now, session.completed_at or now))
    return kinds_since(found)


def _live_or_refused(guard: Rollguard, tool: str) -> int:
    live = guard.store.versions.live(tool)
    if live is None:
        raise UnknownTool(f"{tool} has no live version; list the tools with: rollguard tools")
    return live.version_number


# --- a version -------------------------------------------------------------------------------------------------------


def _show_version(found: VersionRecord, labels: Sequence[str]) -> None:
    now = datetime.now(UTC)
    rows = [("Kind", found.kind), ("Made", f"{moment(found.created_at, now)} by {found.created_by}")]
    rows += [("Reason", found.reason)] if found.reason else []
    rows += [("Made from", f"version {found.parent_version}")] if found.parent_version else []
    rows += [("SHA-256", found.sha256), ("State", state_of(found)), ("Went live", _times(found, now))]
    rows += [("Rolled back", found.rolled_back_reason)] if found.rolled_back_reason else []
    rows += [("Calls", _calls(found))]
    output.show(
        output.heading(f"{found.tool_name}, version {labelled(found.version_number, labels)}"),
        "",
        Table(("Key", "Value~"), rows, header=False),
        "",
    )
    output.code(found.code)


def _times(version: VersionRecord, now: datetime) -> str:
    if not version.times_deployed:
        return "never"
    times = "once" if version.times_deployed == 1 else f"{version.times_deployed} times"
    restored = f", {version.times_restored} by a rollback" if version.times_restored else ""
    return f"{times}{restored}, last {moment(version.last_deployed_at, now)}"


def _calls(version: VersionRecord) -> str:
    if not version.executions:
        return "none"
    calls = counted(version.executions, "call")
    return f"{calls}, {percent(version.success_rate)} succeeded, {milliseconds(version.avg_duration_ms)}"
