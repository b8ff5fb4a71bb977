"""`rollguard stability`."""

from __future__ import annotations

from datetime import timedelta

from rollguard.cli import output
from rollguard.cli.formatting import NOTHING, duration, percent
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json


def stability(config: Config = None, as_json: Json = False) -> None:
    """Show how many of each tool's deployments were rolled back, the highest share first."""
    with opened(config, adopt=False) as guard:
        rows = guard.store.reports.deployment_stability()
    if as_json:
        output.emit_json(rows)
        return
    output.listing(
        ("Tool~", "Deployed>", "Rolled back>", "Rate>", "After>", "Success since>"),
        [
            (
                row["tool_name"],
                row["total_deployments"],
                row["total_rollbacks"],
                percent(row["rollback_rate"]),
                _hours(row["avg_hours_to_rollback"]),
                percent(row["avg_post_deployment_success_rate"]),
            )
            for row in rows
        ],
        nothing="No deployment was monitored yet.",
    )


def _hours(hours: float | None) -> str:
    return NOTHING if hours is None else duration(timedelta(hours=hours))
