"""`rollguard health`."""

from __future__ import annotations

import math
from datetime import datetime
from fractions import Fraction
from typing import Annotated, Any

import typer

from rollguard.cli import exits, output
from rollguard.cli.chosen import session_of_tool
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Details, Json
from rollguard.cli.table import Table
from rollguard.model.formatting import (
    NOTHING,
    change_percent,
    change_points,
    drop_points,
    everyday,
    exactly,
    milliseconds,
    moment,
    percent,
)


def health(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool.")],
    session: Annotated[
        int | None,
        typer.Option(
            "--session",
            metavar="N",
            help="The session; by default the active one, else the latest.",
            show_default=False,
        ),
    ] = None,
    details: Details = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a deployment now: compare the calls since it with those before. Nothing is rolled back.

    The exit code is 3 if the deployment made its tool worse, so scripts can act on it.
    """
    with opened(config, adopt=False) as guard:
        report = guard.monitor.check_health(
            tool, session if session is not None else session_of_tool(guard.store, tool).session_id
        )
        threshold = guard.monitor.get_session(report["session_id"]).rules.regression_threshold
    if as_json:
        output.emit_json(report)
    else:
        _show(report, threshold, details=details)
    if report["verdict"] == "regressed":
        raise typer.Exit(exits.REGRESSION)


def _show(report: dict[str, Any], threshold: float, *, details: bool) -> None:
    now = datetime.fromisoformat(report["checked_at"])
    deployed = moment(datetime.fromisoformat(report["deployment_time"]), now)
    version = report["version_number"]
    title = (
        f"{report['tool_name']}, version {NOTHING if version is None else version}: session {report['session_id']} "
        f"({report['session_status']}), deployed {deployed}"
    )
    output.show(output.heading(title), "", _periods(report), "", _findings(report, threshold, details=details))
    reasons = [*report["reasons"], *report["baseline_notes"]]
    output.show("", output.heading("Reasons"))
    output.bullets(reasons if details else everyday(reasons))


def _periods(report: dict[str, Any]) -> Any:
    before, now = report["baseline"], report["current"]
    before_rate, now_rate = _rate(before), _rate(now)
    change = None if before_rate is None or now_rate is None else now_rate - before_rate
    slower = report["comparison"]["duration_change"]
    return Table(
        ("", "Baseline>", "Current>", "Change>"),
        [
            ("Calls", f"{before['total_executions']:,}", f"{now['total_executions']:,}", ""),
            ("Succeeded", f"{before['successes']:,}", f"{now['successes']:,}", ""),
            ("Success rate", percent(before_rate), percent(now_rate), change_points(change)),
            (
                "Mean duration",
                milliseconds(before["avg_duration_ms"]),
                milliseconds(now["avg_duration_ms"]),
                change_percent(slower),
            ),
            ("Enough calls", *("yes" if period["sufficient_data"] else "no" for period in (before, now)), ""),
        ],
    )


def _findings(report: dict[str, Any], threshold: float, *, details: bool) -> Table:
    comparison, evidence = report["comparison"], report["evidence"]
    drop = drop_points(exactly(comparison["success_rate_drop"]))
    rollback = "needed" if report["needs_rollback"] else "not needed"
    if report["session_status"] == "rolled_back":
        rollback = "done"
    figures = f"{_e_value(evidence['log_e'])}; {_e_value(evidence['required'])} or more is evidence" if details else ""
    rows = [
        ("Verdict", report["verdict"], ""),
        ("Drop", drop, f"a regression is {drop_points(threshold)} or more"),
        ("Severity", comparison["regression_severity"], ""),
        ("Evidence", "present" if evidence["present"] else "not present", figures),
        ("Rollback", rollback, f"decided by the {report['decision']} rule"),
        *_missing(report),
    ]
    return Table(("Name", "Value", "Meaning~"), rows, header=False)


def _missing(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    more = report["executions_needed"]
    if more == 0:
        return []
    label = "more calls since the deployment give a verdict, at the present rates"
    return [
        (
            "Needed",
            "–" if more is None else f"{more:,}",
            "more calls since the deployment alone would give no verdict" if more is None else label,
        )
    ]


def _rate(period: dict[str, Any]) -> Fraction | None:
    total = period["total_executions"]
    return Fraction(period["successes"], total) if total else None


def _e_value(log_e: float) -> str:
    return f"{math.exp(log_e):.4g}" if log_e < 30 else f"e^{log_e:.1f}"
