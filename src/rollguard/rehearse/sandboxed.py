"""The one place that connects rehearsals with the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rollguard.rehearse.runs import Run
from rollguard.sandbox import Isolation, run_inputs


def in_sandbox(isolation: Isolation = Isolation.REQUIRED, libraries: Sequence[str | Path] = ()) -> Run:
    """Return what runs a tool's source in the sandbox.

    Args:
        isolation, libraries: the settings `[sandbox]`; see `run_inputs`.
    """
    return partial(run_inputs, isolation=isolation, libraries=libraries)
