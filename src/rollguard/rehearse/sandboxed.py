"""The one place that connects rehearsals with the sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rollguard.compat import place_of
from rollguard.rehearse.runs import Run
from rollguard.sandbox import Isolation, Limits, Outcome, run_inputs


def in_sandbox(isolation: Isolation = Isolation.REQUIRED, libraries: Sequence[str | Path] = ()) -> Run:
    """Return what runs a tool's source in the sandbox.

    Args:
        isolation, libraries: the settings `[sandbox]`; see `run_inputs`.
    """

    def run(source: bytes, tool_name: str, inputs: Sequence[Mapping[str, Any]], limits: Limits) -> list[Outcome]:
        place = place_of(source, tool_name)
        code = source if place.files is None else place.files
        return run_inputs(
            code, place.exported, inputs, limits, package=place.unit, isolation=isolation, libraries=libraries
        )

    return run
