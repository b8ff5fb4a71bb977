"""`rollguard explain`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.chosen import session_named
from rollguard.cli.errors_shown import errors_table, kinds_since, others
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Details, Json
from rollguard.cli.table import Table
from rollguard.errors import UnknownSession
from rollguard.model.formatting import counted, everyday, labelled, moment

if TYPE_CHECKING:
    from rollguard.app import Rollguard

_DIFFERS = 1


def explain(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOOL|SESSION]",
            help="The tool, or the session's number; by default the latest rollback's session, else the latest one.",
            show_default=False,
        ),
    ] = None,
    details: Details = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say why a deployment was or was not rolled back, and compute its decisions again from their records.

    The exit code is 1 if a decision differs from the recorded one.
    """
    from rollguard.monitor.explain import explain as explained

    with opened(config, adopt=False) as guard:
        number = _latest(guard) if session is None else session_named(guard.store, session).session_id
        found = explained(guard.store, number)
    if as_json:
        output.emit_json(found)
    else:
        _show(found, details=details)
    if found["checks"]["differing"]:
        raise typer.Exit(_DIFFERS)


def _latest(guard: Rollguard) -> int:
    for rollback in guard.store.rollbacks.recent(limit=20):
        if rollback.session_id is not None:
            return rollback.session_id
    sessions = guard.store.sessions.recent(limit=1)
    if not sessions:
        raise UnknownSession("no deployment was monitored yet; deploy a tool with: rollguard deploy FILE")
    return sessions[0].session_id


def _show(found: dict[str, Any], *, details: bool) -> None:
    session, now = found["session"], datetime.now(UTC)
    version = labelled(session["version_number"], [found["release"]] if found["release"] else [])
    status = session["status"] + (f", {session['outcome']}" if session["outcome"] else "")
    title = f"{session['tool_name']}, version {version}: session {session['session_id']} ({status})"
    output.show(output.heading(title), "", output.heading("Why"))
    why = [*found["why"], *found["baseline_notes"]]
    output.bullets(why if details else everyday(why))
    unreadable = {check["check_id"] for check in found["checks"]["not_replayed"]}
    decision = found["decision"]
    if decision is not None and decision["record"] is not None and decision["check_id"] not in unreadable:
        output.show("", output.heading("What was counted"), _windows(decision["record"]))
    if any(rollout["new"] for rollout in found["rollouts"]):
        output.show("", output.heading("What both versions did"), _arms(found["rollouts"]))
    if found["rollback"] is not None and found["rollback"]["investigation"] is not None:
        _show_errors(found["rollback"]["investigation"])
    output.show("", output.heading("Rules"))
    output.bullets([_rules(found["rules"])])
    output.show("", output.heading("Time line"))
    rows = [
        (moment(datetime.fromisoformat(entry["at"]), now, seconds=True), entry["what"]) for entry in found["timeline"]
    ]
    output.show(Table(("When", "What~"), rows))
    output.lines("", *_replayed(found["checks"]))


def _windows(record: dict[str, Any]) -> Any:
    rows = []
    for name, window in (("Baseline", record["baseline"]), ("Current", record["current"])):
        failed = window["total"] - window["successes"]
        rows.append((name, f"{window['total']:,}", f"{window['successes']:,}", f"{failed:,}"))
    return Table(("", "Calls>", "Succeeded>", "Failed>"), rows)


def _arms(rollouts: list[dict[str, Any]]) -> Any:
    """Return what each version did while both served; the counts go on in a later confirmation, so the last has all."""
    last = [rollout for rollout in rollouts if rollout["new"]][-1]
    rows = [
        (f"version {last[f'{arm}_version']}", f"{last[arm]['units']:,}", f"{last[arm]['failures']:,}")
        for arm in ("old", "new")
    ]
    return Table(("", "Calls>", "Failed>"), rows)


def _show_errors(investigation: dict[str, Any]) -> None:
    """Show what failed since the deployment: each kind of error by its latest text."""
    kinds = kinds_since(investigation)
    if not kinds:
        return
    output.show("", output.heading("What failed"), errors_table(kinds))
    if more := others(kinds):
        are = "kind of error is" if more == 1 else "kinds of errors are"
        output.lines(f"{more} more {are} in: rollguard explain --json")
    if investigation["incomplete"]:
        output.lines(f"Not all failures were counted: {investigation['incomplete']}.")


def _rules(rules: dict[str, Any]) -> str:
    """Return the decision and the rules that differ from the defaults."""
    from rollguard.judge import Rules

    defaults = Rules().to_dict()
    changed = [f"decision = {rules['decision']}"]
    changed += [f"{name} = {value}" for name, value in rules.items() if value != defaults[name] and name != "decision"]
    return ", ".join(changed) + ("" if len(changed) > 1 else "; everything else is as by default")


def _replayed(checks: dict[str, Any]) -> list[str]:
    again, kept, lines = checks["made_again"], counted(checks["kept"], "kept check"), []
    if checks["differing"]:
        number = len(checks["differing"])
        lines.append(f"{number} of {kept} {'is' if number == 1 else 'are'} decided differently now:")
        for check in checks["differing"]:
            lines += [f"  check {check['check_id']}: {difference}" for difference in check["differences"]]
    else:
        was = "was decided again from its record" if again == 1 else "were decided again from their records"
        lines.append(f"{again} of {kept} {was}: the same.")
    if checks["not_replayed"]:
        lines.append(f"{len(checks['not_replayed'])} of {kept} cannot be decided again:")
        lines += [f"  check {check['check_id']}: {check['problem']}" for check in checks["not_replayed"]]
    return lines
