"""`rollguard explain`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from rollguard.cli import output
from rollguard.cli.formatting import labelled, moment
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json

_DIFFERS = 1
_MOST_ERRORS, _LONGEST_ERROR = 5, 300


def explain(
    session: Annotated[int, typer.Argument(metavar="SESSION", help="The session's number, as `sessions` lists it.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say why a deployment was or was not rolled back, and compute its decisions again from their records.

    The exit code is 1 if a decision differs from the recorded one.
    """
    from rollguard.monitor.explain import explain as explained

    with opened(config, adopt=False) as guard:
        found = explained(guard.store, session)
    if as_json:
        output.emit_json(found)
    else:
        _show(found)
    if found["checks"]["differing"]:
        raise typer.Exit(_DIFFERS)


def _show(found: dict[str, Any]) -> None:
    session, now = found["session"], datetime.now(UTC)
    version = labelled(session["version_number"], [found["release"]] if found["release"] else [])
    status = session["status"] + (f", {session['outcome']}" if session["outcome"] else "")
    output.lines(f"{session['tool_name']}, version {version}: session {session['session_id']} ({status})", "", "Why")
    output.bullets([*found["why"], *found["baseline_notes"]])
    unreadable = {check["check_id"] for check in found["checks"]["not_replayed"]}
    decision = found["decision"]
    if decision is not None and decision["record"] is not None and decision["check_id"] not in unreadable:
        output.lines("", "What was counted")
        output.show(_windows(decision["record"]))
    if found["rollback"] is not None and found["rollback"]["investigation"] is not None:
        _show_errors(found["rollback"]["investigation"])
    output.lines("", "Rules", f"  {_rules(found['rules'])}", "", "Time line")
    output.show(
        output.table(
            ("When", "What~"),
            [(moment(datetime.fromisoformat(entry["at"]), now), entry["what"]) for entry in found["timeline"]],
        )
    )
    output.lines("", *_replayed(found["checks"]))


def _windows(record: dict[str, Any]) -> Any:
    rows = []
    for name, window in (("Baseline", record["baseline"]), ("Current", record["current"])):
        failed = window["total"] - window["successes"]
        rows.append((name, f"{window['total']:,}", f"{window['successes']:,}", f"{failed:,}"))
    return output.table(("", "Calls>", "Succeeded>", "Failed>"), rows)


def _show_errors(investigation: dict[str, Any]) -> None:
    """Show what failed since the deployment: each kind of error by its latest text."""
    kinds = [kind for kind in investigation["signatures"] if kind["samples"]]
    if not kinds:
        return
    output.lines("", "What failed")
    output.show(
        output.table(
            ("Since>", "Before>", "Latest error~"),
            [(f"{kind['count']:,}", f"{kind['count_before']:,}", _latest(kind)) for kind in kinds[:_MOST_ERRORS]],
        )
    )
    if len(kinds) > _MOST_ERRORS:
        output.lines(f"{len(kinds) - _MOST_ERRORS} more kinds of errors are in: rollguard explain --json")
    if investigation["incomplete"]:
        output.lines(f"Not all failures were counted: {investigation['incomplete']}.")


def _latest(kind: dict[str, Any]) -> str:
    error = kind["samples"][0]["error"]
    text = f"{kind['error_type'] or 'failure'}: {error}" if error else kind["signature"]
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"


def _rules(rules: dict[str, Any]) -> str:
    """Return the decision and the rules that differ from the defaults."""
    from rollguard.judge import Rules

    defaults = Rules().to_dict()
    changed = [f"decision = {rules['decision']}"]
    changed += [f"{name} = {value}" for name, value in rules.items() if value != defaults[name] and name != "decision"]
    return ", ".join(changed) + ("" if len(changed) > 1 else "; everything else is as by default")


def _replayed(checks: dict[str, Any]) -> list[str]:
    again, kept, lines = checks["made_again"], checks["kept"], []
    if checks["differing"]:
        lines.append(f"{len(checks['differing'])} of {kept} kept checks are decided differently now:")
        for check in checks["differing"]:
            lines += [f"  check {check['check_id']}: {difference}" for difference in check["differences"]]
    else:
        lines.append(f"{again} of {kept} kept checks were decided again from their records: the same.")
    if checks["not_replayed"]:
        lines.append(f"{len(checks['not_replayed'])} of {kept} kept checks cannot be decided again:")
        lines += [f"  check {check['check_id']}: {check['problem']}" for check in checks["not_replayed"]]
    return lines
