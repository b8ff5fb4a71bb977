"""The one place that connects rehearsals with the sandbox."""

from __future__ import annotations

from rollguard.rehearse.runs import Run


def in_sandbox() -> Run:
    """Return what runs a tool's source in the sandbox. It is imported when it is first needed: a rehearsal is rare."""
    from rollguard.sandbox import run_inputs

    return run_inputs
