"""`rollguard backtest`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.cli.progress import progress
from rollguard.cli.table import Table
from rollguard.model.formatting import duration, moment, percent

if TYPE_CHECKING:
    from rollguard.app import Rollguard
    from rollguard.evaluate.backtest import Deployment, ToolRisk
    from rollguard.evaluate.false_alarm_risk import Risk
    from rollguard.judge import Rules, Window

_OUTCOMES = {  # how the summary names them, in this order
    "same": "rolled back by both, at the same time",
    "earlier": "rolled back by both, earlier by the candidate",
    "later": "rolled back by both, later by the candidate",
    "added": "rolled back by the candidate alone",
    "missed": "rolled back, and not by the candidate",
    "neither": "rolled back by neither",
    "not_seen": "not seen: ended before the candidate decided",
}
_BESIDE = {"canary": "in a rollout", "confirm": "with a confirmation"}
_MOST_REASONS = _MOST_TOOLS = 20  # shown to people


def _option(name: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(name, metavar=metavar, help=text, show_default=False, **more)


def backtest(
    tool: Annotated[str | None, typer.Argument(help="Only this tool's deployments.", show_default=False)] = None,
    decision: Annotated[str | None, _option("--decision", "RULE", "threshold or evidence.")] = None,
    alpha: Annotated[float | None, _option("--alpha", "P", "The bound on false alarms of the evidence rule.")] = None,
    delta: Annotated[float | None, _option("--delta", "SHARE", "Rise of the failure rate that is accepted.")] = None,
    threshold: Annotated[
        float | None, _option("--threshold", "SHARE", "Drop that is a regression, such as 0.15.")
    ] = None,
    min_executions: Annotated[int | None, _option("--min-executions", "N", "Calls needed on both sides.")] = None,
    fast_triggers: Annotated[str | None, _option("--fast-triggers", "HOW", "with_evidence, alone or off.")] = None,
    window_hours: Annotated[int | None, _option("--window-hours", "H", "How long deployments are monitored.")] = None,
    baseline_days: Annotated[int | None, _option("--baseline-days", "D", "How far a baseline reaches back.")] = None,
    more: Annotated[
        list[str] | None, _option("--set", "KEY=VALUE", "Any other setting of \\[monitor], its value as in TOML.")
    ] = None,
    since: Annotated[str | None, _option("--since", "TIME", "Only deployments from this time on, in ISO 8601.")] = None,
    limit: Annotated[int | None, _option("--limit", "N", "At most this many deployments, newest first.", min=1)] = None,
    false_alarms: Annotated[
        bool, typer.Option("--false-alarms/--no-false-alarms", help="Compute how often good versions are rolled back.")
    ] = True,
    plot: Annotated[
        Path | None, _option("--plot", "FILE", "Also draw it, as .png or .svg; needs rollguard\\[plot].")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Replay past deployments under other settings: which would have been rolled back, when and why.

    Options override the settings. Nothing is changed.
    """
    given = {
        "decision": decision,
        "alpha": alpha,
        "delta": delta,
        "regression_threshold": threshold,
        "min_executions": min_executions,
        "fast_triggers": fast_triggers,
        "monitoring_window_hours": window_hours,
        "baseline_window_days": baseline_days,
    }
    overrides = _overrides({name: value for name, value in given.items() if value is not None}, more or [])
    start = None if since is None else inputs.since_given(since, datetime.now(UTC))
    if plot is not None:
        from rollguard.cli.plots import check_plot

        check_plot(plot)
    with opened(config, adopt=False) as guard:
        every = timedelta(seconds=guard.settings.watch.check_interval_seconds)
        deployments, risks = _computed(guard, overrides, every, tool, start, limit, false_alarms=false_alarms)
    drawn = None
    if plot is not None:
        from rollguard.cli.plots import plot_backtest

        drawn = plot_backtest(plot, deployments, risks)
    if as_json:
        output.emit_json(_as_json(deployments, risks, overrides, every))
    else:
        _show(deployments, risks, overrides)
    if drawn is not None:
        left_out = f", the newest {drawn} deployments" if drawn < len(deployments) else ""
        output.note(f"drawn to {plot}{left_out}")


def _overrides(given: dict[str, Any], more: Sequence[str]) -> dict[str, Any]:
    from rollguard.settings import toml_value

    found = inputs.assigned(more, "KEY=VALUE", option="--set", taken=given)
    return given | {key: toml_value(text) for key, text in found.items()}


def _computed(
    guard: Rollguard,
    overrides: dict[str, Any],
    every: timedelta,
    tool: str | None,
    since: datetime | None,
    limit: int | None,
    *,
    false_alarms: bool,
) -> tuple[list[Deployment], list[ToolRisk]]:
    from rollguard.evaluate import backtest as testing

    present = guard.monitor.rules_for
    present("").with_overrides(overrides)  # invalid values are reported before the replay

    def candidate(name: str) -> Rules:
        return present(name).with_overrides(overrides)

    with progress("replaying") as advance:
        deployments = testing.backtest(
            guard.store,
            candidate,
            every=every,
            now=datetime.now(UTC),
            tool_name=tool,
            since=since,
            limit=limit,
            advance=advance,
        )
    if not false_alarms:
        return deployments, []
    with progress("false alarms") as advance:
        return deployments, testing.false_alarms(deployments, present, every=every, advance=advance)


# --- JSON ------------------------------------------------------------------------------------------------------------


def _as_json(
    deployments: Sequence[Deployment], risks: Sequence[ToolRisk], overrides: dict[str, Any], every: timedelta
) -> dict[str, Any]:
    from rollguard.evaluate.backtest import summary

    return {
        "candidate": overrides,
        "check_every_seconds": every.total_seconds(),
        "deployments": [_deployment(deployment) for deployment in deployments],
        "summary": summary(deployments),
        "false_alarms": [
            {**output.record(risk, "candidate", "present"), "candidate": _risk(risk.candidate)}
            | {"present": _risk(risk.present)}
            for risk in risks
        ],
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    session, replayed, rollback = deployment.session, deployment.replayed, deployment.rollback
    judgement = replayed.judgement
    return {
        "session_id": session.session_id,
        "tool_name": session.tool_name,
        "version_number": session.version_number,
        "deployment_time": session.deployment_time,
        "happened": deployment.happened,
        "rolled_back_at": deployment.decided_at,
        "rollout": None if deployment.rollout is None else deployment.rollout.to_dict(),
        "rollback_type": None if rollback is None else rollback.rollback_type,
        "seen_until": deployment.seen_until,
        "compared": deployment.compared.value,
        "candidate": {
            "rules": deployment.rules.to_dict(),
            "needs_rollback": replayed.at is not None,
            "at": replayed.at,
            "rollback_type": judgement.rollback_type if replayed.at is not None else None,
            "baseline": _counts(replayed.baseline),
            "current": _counts(replayed.current),
            "evidence": output.record(judgement.evidence),
            "reasons": judgement.reasons,
            "held_since": replayed.held_since,
            "triggers_known": replayed.triggers_known,
        },
    }


def _counts(window: Window) -> dict[str, Any]:
    return {
        "total_executions": window.total,
        "successes": window.successes,
        "success_rate": window.success_rate,
    }


def _risk(risk: Risk) -> dict[str, Any]:
    return output.record(risk)


# --- for people ------------------------------------------------------------------------------------------------------


def _show(deployments: Sequence[Deployment], risks: Sequence[ToolRisk], overrides: dict[str, Any]) -> None:
    from rollguard.evaluate.backtest import summary

    candidate = ", ".join(f"{key} = {value!r}" for key, value in overrides.items()) or "the settings as they are"
    output.lines(f"{len(deployments)} deployment{'' if len(deployments) == 1 else 's'}; candidate: {candidate}", "")
    now = datetime.now(UTC)
    columns = ("Tool", "Version>", "Deployed", "What happened~", "Candidate~")
    output.show(Table(columns, [_row(deployment, now) for deployment in deployments]))
    reasons = [deployment for deployment in deployments if deployment.replayed.at is not None]
    if reasons:
        output.lines("", "Why the candidate rolls back")
        output.bullets(_why(deployment, now) for deployment in reasons[:_MOST_REASONS])
        if len(reasons) > _MOST_REASONS:
            output.lines(f"  … and {len(reasons) - _MOST_REASONS} more; --json shows all")
    counts = summary(deployments)
    output.lines("")
    output.show(Table(("Deployments", "Number>"), [(name, counts[k]) for k, name in _OUTCOMES.items() if counts[k]]))
    kinds = {deployment.rollout.kind for deployment in deployments if deployment.rollout is not None}
    if kinds:
        output.lines("", "Of a rollout the new version's calls are replayed, as if it had replaced the other version.")
    if "confirm" in kinds:
        output.lines("A confirmation is not replayed: where one would begin, the candidate rolls back at once.")
    if not all(deployment.replayed.triggers_known for deployment in deployments):
        output.lines(
            "", "Some executions are no longer kept, so their deployments (*) are replayed without fast triggers."
        )
    if risks:
        output.lines("")
        output.show(_false_alarms(risks))
        output.lines("", "Share of unchanged versions that each rule rolls back within one session.")
        if not all(risk.candidate.exact and risk.present.exact for risk in risks[:_MOST_TOOLS]):
            output.lines("≈: only some calls or possible baselines were computed; --json shows how many.")
        if len(risks) > _MOST_TOOLS:
            output.lines(f"… and {len(risks) - _MOST_TOOLS} more tools; --json shows all")


def _row(deployment: Deployment, now: datetime) -> tuple[object, ...]:
    session = deployment.session
    happened = deployment.happened.replace("_", " ")
    if deployment.decided_at is not None:
        happened += f" after {duration(deployment.decided_at - session.deployment_time)}"
    elif deployment.rollback is not None:
        happened += " by hand"
    if deployment.rollout is not None:
        happened += f", {_BESIDE[deployment.rollout.kind]}"
    return (
        session.tool_name,
        session.version_number,
        moment(session.deployment_time, now),
        happened,
        _candidate(deployment, now),
    )


def _candidate(deployment: Deployment, now: datetime) -> str:
    session, replayed = deployment.session, deployment.replayed
    calls = f"{replayed.current.total:,} call{'' if replayed.current.total == 1 else 's'}"
    if replayed.at is not None:
        text = f"{replayed.judgement.rollback_type} after {duration(replayed.at - session.deployment_time)}, {calls}"
    elif deployment.compared.value == "not_seen":
        text = f"not seen within {calls}"
    else:
        text = f"no rollback, {calls}"
    if replayed.held_since is not None:
        text += f"; held from {moment(replayed.held_since, now)} on, as something else failed too"
    return text if replayed.triggers_known else f"{text} *"


def _why(deployment: Deployment, now: datetime) -> str:
    session = deployment.session
    version = "" if session.version_number is None else f" {session.version_number}"
    when = moment(session.deployment_time, now)
    return f"{session.tool_name}{version} of {when}: {deployment.replayed.judgement.headline}"


def _false_alarms(risks: Sequence[ToolRisk]) -> Any:
    columns = ("False alarms", "Failing>", "Baseline>", "Calls a look>", "Present>", "Candidate>")
    rows = [
        (
            risk.tool_name,
            percent(risk.failure_rate),
            f"{risk.baseline_calls:,}",
            f"{risk.calls_per_look:.3g}",
            _chance(risk.present),
            _chance(risk.candidate),
        )
        for risk in risks[:_MOST_TOOLS]
    ]
    return Table(columns, rows)


def _chance(risk: Risk) -> str:
    share = f"{100 * risk.probability:.2g} %" if risk.probability >= 0.0001 else "< 0.01 %"
    return share if risk.exact else f"≈ {share}"
