"""`rollguard opportunities`."""

from __future__ import annotations

from rollguard.cli import output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.formatting import NOTHING


def opportunities(config: Config = None, as_json: Json = False) -> None:
    """List the tools that are worth an improvement, those that cost most first, and why one is left alone."""
    from rollguard.investigate import find_opportunities

    with opened(config, adopt=False) as guard:
        found = find_opportunities(guard.store)
    if as_json:
        output.emit_json([one.to_dict() for one in found])
        return
    output.listing(
        ("Tool~", "Why", "Priority", "Calls lost a day>", "Time lost a day>", "Counted~", "Left alone~"),
        [
            (
                one.tool_name,
                one.kind,
                one.priority,
                f"{one.calls_lost_per_day:,.1f}",
                f"{one.seconds_lost_per_day:,.1f} s",
                one.reason,
                one.left_alone or NOTHING,
            )
            for one in found
        ],
        nothing="No tool is weak: no low success rate, no recent failures, no new errors, nothing slow. "
        "The present hour counts when it is over.",
    )
