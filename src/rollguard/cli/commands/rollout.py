"""`rollguard promote`, `pause`, `resume` and `abort`: decisions of a person about a rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import inputs, output
from rollguard.cli.commands.versions import Tool
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.formatting import percent

if TYPE_CHECKING:
    from pathlib import Path

    from rollguard.model.rollout import Rollout

Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.", show_default=False)
]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who; by default your login name.", show_default=False)
]


def promote(tool: Tool, reason: Reason = None, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Make the new version of a rollout live now. Its session goes on."""
    done = _decided("promote", tool, reason, by, config, as_json)
    if not as_json:
        output.lines(f"Version {done.new_version} of {tool} is live. Session {done.session_id} watches it.")


def pause(tool: Tool, reason: Reason = None, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Hold the share of a rollout. Evidence against the new version, or the time limit, still ends it."""
    done = _decided("pause", tool, reason, by, config, as_json)
    if not as_json:
        share = percent(done.ramp.share)
        output.lines(f"Version {done.new_version} of {tool} stays at {share} until: rollguard resume {tool}")


def resume(tool: Tool, reason: Reason = None, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Let a paused rollout go on. The time of its stage begins again."""
    done = _decided("resume", tool, reason, by, config, as_json)
    if not as_json:
        output.lines(f"The rollout of version {done.new_version} of {tool} goes on, at {percent(done.ramp.share)}.")


def abort(tool: Tool, reason: Reason = None, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """End a rollout: the version that is live serves all calls again. The new one may be deployed again."""
    done = _decided("abort", tool, reason, by, config, as_json)
    if not as_json:
        all_, none = done.old_version, done.new_version
        if done.ramp.share:  # a confirmation, whose new version was live before
            all_, none = none, all_
        output.lines(f"Version {all_} of {tool} serves all calls. Version {none} serves none.")


def _decided(what: str, tool: str, reason: str | None, by: str | None, config: Path | None, as_json: bool) -> Rollout:
    with opened(config) as guard, output.tools_print_to_stderr():
        decide: Any = getattr(guard.monitor.rollouts, what)
        done: Rollout = decide(tool, by=by or inputs.who(), reason=reason)
    if as_json:
        output.emit_json(done.to_dict())
    return done
