"""The same small figures of an earlier commit and of the present sources, in one run, taking turns.

Each figure is measured on SQLite in a new process, through methods that both have. All are seconds of the processor,
which a busy machine disturbs less than it does the clock; the last one is by the clock. The sources of the earlier
commit are installed under `build/`, with the packages that they need.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

from benchmarks.harness import Aim, Options, Result, duration, medians, ratio

_ROOT = Path(__file__).parents[1]
_ALLOWED = 1.1  # of the time before: what two runs of the same sources may differ by
_FIGURES = {  # name, size, tiny size
    "call": ("a recorded call, for its caller", 20_000, 50),
    "check": ("a check, 10,000 calls before and since", 10_000, 50),
    "cycle": ("a cycle over 1,000 sessions", 1_000, 3),
    "ingest": ("ingest of 50,000 mappings, all folded", 50_000, 100),
    "restored": ("from deciding to the restored version's answer", 10, 1),
}


def run(options: Options) -> Result:
    """Measure."""
    sources = {"before": installed(options.against), "after": _ROOT / "src"}
    result = Result(
        name="before_after",
        title="Before and after",
        about=__doc__ or "",
        columns=["", "before", "after", "after : before"],
        notes=[f'Before is commit {options.against}; another one: `make bench ARGS="before_after --against COMMIT"`.'],
    )
    for name, (what, size, tiny) in _FIGURES.items():
        count = str(tiny if options.tiny else size)
        figures = medians(
            {when: partial(_measured, where, name, count) for when, where in sources.items()}, options.runs
        )
        share = figures["after"] / figures["before"]
        result.rows.append([what, *map(duration, figures.values()), ratio(share)])
        result.aims.append(Aim(f"{what}: at most {_ALLOWED} of the time before", ratio(share), share <= _ALLOWED))
    return result


def installed(commit: str) -> Path:
    """Return a folder with a commit's packages, made if need be: Rollguard, and what it needed then."""
    git = ["git", "-C", str(_ROOT)]
    found = subprocess.run([*git, "rev-parse", f"{commit}^{{commit}}"], capture_output=True, text=True, check=True)
    folder = _ROOT / "build" / "before" / found.stdout.strip()
    packages = folder / "packages"
    if not packages.is_dir():
        packed = subprocess.run([*git, "archive", found.stdout.strip()], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(packages), str(folder)], check=True)
    return packages


def _measured(sources: Path, name: str, size: str) -> float:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("figures.py")), name, size]
    environment = {**os.environ, "PYTHONPATH": str(sources), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} of {sources.parent.name}: {done.stderr[-2_000:]}")
    return float(done.stdout)
