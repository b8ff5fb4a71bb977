"""How long a command takes that only shows something, with 1,000 tools in the folder.

Each figure is that of a new process, `python -m rollguard COMMAND`, with its database on SQLite and every file of the
folder known already. What any program with a database library and a command line pays is beside it: Python alone, and
with SQLAlchemy and Typer imported.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Aim, Options, Result, duration, medians, number, ratio, versions

LIMIT = 0.5
_COMMANDS = {
    "python": ("-c", "pass"),
    "python, SQLAlchemy and Typer imported": ("-c", "import sqlalchemy, typer"),
    "rollguard --version": ("-m", "rollguard", "--version"),
    "rollguard status": ("-m", "rollguard", "status"),
    "rollguard tools": ("-m", "rollguard", "tools"),
}
_BESIDE = "python, SQLAlchemy and Typer imported"


def run(options: Options) -> Result:
    """Measure."""
    count = 5 if options.tiny else 1_000
    with tempfile.TemporaryDirectory(prefix="rg-bench-") as folder:
        tools = Path(folder) / "tools"
        tools.mkdir()
        for tool in range(count):
            code = f'def tool_{tool}(a: int) -> int:\n    """Add {tool}."""\n    return a + {tool}\n'
            (tools / f"tool_{tool}.py").write_text(code)
        environment = os.environ | {"ROLLGUARD_DATABASE": f"sqlite:///{folder}/start.db"}
        spent: dict[str, list[float]] = {name: [] for name in _COMMANDS}

        def timed(name: str) -> Callable[[], float]:
            def once() -> float:
                before, began = _processor(), time.perf_counter()
                command = [sys.executable, *_COMMANDS[name]]
                subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
                took = time.perf_counter() - began
                spent[name].append(_processor() - before)
                return took

            return once

        adopting = [sys.executable, "-m", "rollguard", "call", "tool_0", "a=1"]
        subprocess.run(adopting, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
        actions = {name: timed(name) for name in _COMMANDS}
        for action in actions.values():
            action()  # makes the bytecode
        figures = medians(actions, options.runs)
    least = {name: min(values[1:]) for name, values in spent.items()}
    return Result(
        name="start_up",
        title="The start of a command",
        about=__doc__ or "",
        columns=["", "time", "processor", "processor, of those imports"],
        rows=[
            [name, duration(took), duration(least[name]), ratio(least[name] / least[_BESIDE])]
            for name, took in figures.items()
        ],
        aims=[
            Aim(f"{name}, {number(count)} tools: under 0.5 s", duration(figures[name]), figures[name] < LIMIT)
            for name in ("rollguard status", "rollguard tools")
        ],
        notes=[versions("SQLAlchemy", "typer", "pydantic")],
    )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
