"""What `rollguard doctor` finds of the improvers: whether each has what it needs. None is asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from rollguard.cli.findings import Finding, broken, ok, warning
from rollguard.settings import Settings
from rollguard.settings.sections import ImproverSettings


def improvers(settings: Settings) -> Iterator[Finding]:
    """Yield what an improver lacks; one that is in order is said to be."""
    for given in settings.improve.improvers:
        wrong = list(_lacks(given, settings))
        yield from wrong or [ok("improvers", f"{given.called} has what it needs")]


def _lacks(given: ImproverSettings, settings: Settings) -> Iterator[Finding]:
    where = "under [[improve.improvers]]"
    if given.kind == "command":
        program = given.command[0]
        path = str(settings.folder / program) if "/" in program else program
        if shutil.which(path, path=settings.improver_variables.get("PATH", "")) is None:
            says = f"{given.called} runs {program}, and there is no such program in the PATH that it gets"
            yield broken("improvers", says, f"correct command {where}, or list PATH in its environment")
    if given.kind == "model" and find_spec("pydantic_ai") is None:
        says = f"{given.called} asks a model, and the packages for that are not installed"
        yield broken("improvers", says, "pip install rollguard[model]")
    unset = [name for name in given.variables if name not in settings.improver_variables]
    if unset:
        says = f"{given.called} is given {', '.join(unset)}, which the environment does not have"
        yield warning("improvers", says, f"set it, or take it off the list {where}")
