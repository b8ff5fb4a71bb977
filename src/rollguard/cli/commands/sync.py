"""`rollguard sync`: release what CI, git, rsync or an image left in a folder."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.commands.release import By, Reason, Strict, say
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, DryRun, Json

if TYPE_CHECKING:
    from rollguard.registry import Synced


class Wins(StrEnum):
    """What is kept where a live version is not in the folder."""

    FOLDER = "folder"
    LIVE = "live"


def sync(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="The tools' files; by default the folder of tools.", show_default=False),
    ] = None,
    ref: Annotated[
        str | None,
        typer.Option("--ref", metavar="REF", help="The label; by default git's revision.", show_default=False),
    ] = None,
    wins: Annotated[
        Wins | None,
        typer.Option("--wins", help="What to keep where a live version is not in the folder.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    reason: Reason = None,
    by: By = None,
    strict: Strict = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Release what changed in a folder since its last sync, as one release. A second time changes nothing.

    The exit code is 3 if the release was rolled back since, and 8 if a live version is not in the folder.
    """
    with opened(config, adopt=not dry_run) as guard, output.tools_print_to_stderr():
        done = guard.sync(
            folder,
            ref=ref,
            wins=None if wins is None else wins.value,
            dry_run=dry_run,
            reason=reason,
            created_by=by or inputs.who(),
            strict=strict,
        )
    if as_json:
        output.emit_json({**output.record(done.plan, "code"), "released": done.released, "kept": done.kept})
    else:
        _say(done, dry_run=dry_run)
    if dry_run and done.plan.conflicts and wins is None:
        raise typer.Exit(exits.CONFLICT)
    if done.released is not None and done.released.state == "rolled_back":
        raise typer.Exit(exits.REGRESSION)


def _say(done: Synced, *, dry_run: bool) -> None:
    plan = done.plan
    for title, names in (
        ("changed", plan.changed),
        ("added", plan.added),
        ("edited in the folder", plan.edits),
        ("in quarantine, left as it is", plan.quarantined),
        ("kept as it is live", done.kept),
        ("live and not in the folder, left as it is", plan.missing),
    ):
        if names:
            output.lines(f"{title}: {', '.join(names)}")
    if dry_run:
        output.bullets([conflict.sentence for conflict in plan.conflicts])
        output.lines(
            f"{plan.label} would be released." if plan.releases else f"{plan.label}: there is nothing to release."
        )
    elif done.released is None:
        output.lines(f"{plan.label}: there is nothing to release. Nothing was changed.")
    else:
        say(done.released)
