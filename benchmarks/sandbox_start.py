"""How long a process of the sandbox takes from its start to the answer to a tool's first input, and to its end.

Beside it are Python alone (`python -I -c pass`), the child process that only checks whether a file loads, which has no
layers, and a further input to a process that runs already. The processor's time is the least of the runs; on a busy
machine the time beside it is mostly that of waiting for a processor, of Python alone too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Aim, Options, Result, duration, medians, ratio, seconds
from rollguard.sandbox import Limits, OutcomeKind, check_tool, run_inputs

LIMIT = 0.1
_CODE = "def add(a, b):\n    return a + b\n"
_BARE, _CHECK, _SANDBOX = "python -I -c pass", "check that a file loads", "sandbox, to the first answer"
_NEXT = "sandbox, each further input"


def run(options: Options) -> Result:
    """Measure."""
    more = 10 if options.tiny else 200
    actions: dict[str, Callable[[], object]] = {
        _BARE: lambda: subprocess.run([sys.executable, "-I", "-c", "pass"], check=True),
        _CHECK: lambda: check_tool("add", _CODE.encode(), Path("add.py")),
        _SANDBOX: lambda: _answered(1),
        _NEXT: lambda: _answered(more),
    }
    spent: dict[str, list[float]] = {name: [] for name in actions}

    def timed(name: str) -> Callable[[], float]:
        def once() -> float:
            before = _processor()
            took = seconds(actions[name])
            spent[name].append(_processor() - before)
            return took

        return once

    figures = medians({name: timed(name) for name in actions}, options.runs * 2)
    processor = {name: min(values) for name, values in spent.items()}
    for measured in (figures, processor):
        measured[_NEXT] = max(0.0, measured[_NEXT] - measured[_SANDBOX]) / (more - 1)
    return Result(
        name="sandbox_start",
        title="The start of the sandbox",
        about=__doc__ or "",
        columns=["", "time", "processor", "processor, of Python alone"],
        rows=[
            [name, duration(took), duration(processor[name]), ratio(processor[name] / processor[_BARE])]
            for name, took in figures.items()
        ],
        aims=[
            Aim(
                "the first answer of the sandbox: within 100 ms of a processor",
                duration(processor[_SANDBOX]),
                processor[_SANDBOX] <= LIMIT,
            )
        ],
    )


def _answered(inputs: int) -> None:
    outcomes = run_inputs(_CODE, "add", [{"a": 1, "b": 2}] * inputs, Limits(seconds=60.0))
    if any(outcome.kind is not OutcomeKind.RETURNED for outcome in outcomes):
        raise RuntimeError(f"the sandbox does not answer: {outcomes[-1]}")


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    return sum(each.ru_utime + each.ru_stime for each in used)
