"""What every benchmark shares: medians, results, tables, the machine, and a profile for an aim that is missed."""

from __future__ import annotations

import cProfile
import gc
import io
import os
import platform
import pstats
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Attributes:
        runs: every figure is the median of so many.
        full: the sizes that take minutes as well.
        tiny: sizes so small that only the benchmark itself is tried, not what it measures.
        against: the commit that `before_after` compares with.
    """

    runs: int = 5
    full: bool = False
    tiny: bool = False
    against: str = "75427c8"  # before the packages were ordered anew


@dataclass(slots=True)
class Aim:
    """What was hoped for, and what was measured. A missed one says why, with a profile."""

    text: str
    measured: str
    met: bool
    profile: str | None = None


@dataclass(slots=True)
class Result:
    """What one benchmark found.

    Attributes:
        name: of its module.
        title: of its section in the page.
        about: what is measured, and against what.
        columns: of the table.
        rows: of the table, ready to be read.
        aims: each with what was measured.
        notes: what is needed to understand the figures.
        options: what it was run with.
        machine: where.
    """

    name: str
    title: str
    about: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-safe values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Result:
        """The result that `to_dict` described."""
        return cls(**{**kept, "aims": [Aim(**aim) for aim in kept["aims"]]})


# --- measuring -------------------------------------------------------------------------------------------------------


def seconds(action: Callable[[], object]) -> float:
    """How long `action` takes, once."""
    gc.collect()
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def medians(actions: Mapping[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median of `runs` figures of each action. The actions take turns, so that a busy moment hits all of them."""
    figures: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(runs):
        for name, action in actions.items():
            figures[name].append(action())
    return {name: statistics.median(values) for name, values in figures.items()}


_PROFILE_LINES = 14


def profile(action: Callable[[], object], lines: int = _PROFILE_LINES) -> str:
    """Where the time of `action` goes: the top lines of cProfile by a function's own time, without machine paths."""
    profiler = cProfile.Profile()
    profiler.enable()
    action()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(lines)
    kept = [line for line in text.getvalue().splitlines() if line.strip()]
    kept = [line for line in kept if not line.lstrip().startswith(("Ordered by", "List reduced"))]
    roots = sorted((f"{root}/" for root in sys.path if root.startswith("/")), key=len, reverse=True)
    for root in roots:
        kept = [line.replace(root, "") for line in kept]
    return "\n".join(line.rstrip() for line in kept)


# --- words -----------------------------------------------------------------------------------------------------------


def duration(value: float) -> str:
    """Seconds in the unit that reads best."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= 0.9995 * size:  # which three digits show as one of it
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def number(value: float) -> str:
    """A number with its thousands marked."""
    return f"{value:,.0f}"


def ratio(value: float) -> str:
    """A ratio with three digits, or whole where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is readable in a terminal too."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    head = [
        name.ljust(width) if i == 0 else name.rjust(width)
        for i, (name, width) in enumerate(zip(columns, widths, strict=True))
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


# --- the machine -----------------------------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """What the figures were measured on. No name of the machine, no path of it."""
    load = os.getloadavg()[0]
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "Memory": f"{_memory_gib():.0f} GiB",
        "System": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Load before": f"{load:.1f} (1-minute average)",
    }


def versions(*packages: str) -> str:
    """The installed versions of packages, in one line."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
