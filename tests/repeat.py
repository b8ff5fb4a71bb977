"""`python -m tests.repeat N`: runs the tests N times, otherwise each time, and prints a table; 1 where one is red.

Every second run has all cores loaded, every second pair of runs is in random order, and 1, 2 and 4 workers take turns.
What a run says is kept in `build/repeat`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "repeat"
WORKERS = (1, 2, 4)
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
# It ends by itself when whoever started it is gone, even if that was killed.
BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"


@contextlib.contextmanager
def load(*, wanted: bool) -> Iterator[None]:
    """A busy loop for each core."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1) if wanted]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def run(number: int, more: list[str]) -> bool:
    """One run, which is number `number`, and its row; whether it was green."""
    workers, loaded, shuffled = WORKERS[number % len(WORKERS)], number % 2 == 1, number % 4 >= 2
    seed = str(secrets.randbits(32)) if shuffled else "0"
    order = ["-p", "randomly", f"--randomly-seed={seed}"] if shuffled else []
    command = [sys.executable, "-m", "pytest", "-n", str(workers), *order, *more]
    log = FOLDER / f"{number + 1}.log"
    began = time.monotonic()
    with load(wanted=loaded), log.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "FAULTS_SEED": seed})
    result = "green" if done.returncode == 0 else "RED"
    told = seed if shuffled else "in order"
    print(
        f"{number + 1:>3}  {time.monotonic() - began:>6.0f} s  {result:<6}  {told:>10}  {workers:>7}  "
        f"{'loaded' if loaded else 'idle'}",
        flush=True,
    )
    if done.returncode != 0:
        for name in FAILED.findall(log.read_text()) or ["no test failed, but the run did"]:
            print(f"       {name}")
        print(f"       see {log.relative_to(FOLDER.parent.parent)}", flush=True)
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    """The command line: how many runs, and more words for pytest."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("run  duration  result        seed  workers  machine", flush=True)
    green = [run(number, arguments[1:]) for number in range(int(arguments[0]))]
    print(f"{sum(green)} of {len(green)} green")
    return 0 if all(green) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["20"]))
    except KeyboardInterrupt:
        sys.exit(130)
