"""`rollguard doctor`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from rollguard.cli import exits, output
from rollguard.cli.opening import settings_for
from rollguard.cli.options import Config, Json
from rollguard.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rollguard.cli.findings import Finding


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Check whether everything is in order, and say how to fix what is not. Nothing is changed.

    The exit code is 1 if something is broken. A warning alone does not count.
    """
    findings = _findings(config)
    if as_json:
        output.emit_json(findings)
    else:
        for finding in findings:
            output.lines(*_lines(finding))
    if any(finding.health == "broken" for finding in findings):
        raise typer.Exit(exits.ERROR)


def _findings(config: Path | None) -> list[Finding]:
    from rollguard.cli.doctor import examine
    from rollguard.cli.findings import Finding, Health

    try:
        settings = settings_for(config)
    except InvalidSetting as error:
        return [Finding("settings", Health.BROKEN, str(error), "correct it in rollguard.toml or in the environment")]
    with output.tools_print_to_stderr():
        return examine(settings, datetime.now(UTC))


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.health:<8} {finding.check}: {finding.says}"
    if finding.fix is not None:
        yield f"{'':9}to fix it: {finding.fix}"
