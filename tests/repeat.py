"""`python -m tests.repeat N`: runs the tests N times, otherwise each time, and prints a table; 1 where one is red.

Half of the runs share the machine with another run and with a busy loop for each core, half are in random order, and
1, 2 and 4 workers take turns. What a run says is kept in `build/repeat`.
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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "build" / "repeat"
WORKERS = (1, 2, 4)
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)
# It ends by itself when whoever started it is gone, even if that was killed.
BUSY = "import os\nos.nice(10)\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(10_000))"


@contextlib.contextmanager
def load(*, wanted: bool) -> Iterator[None]:
    """A busy loop for each core, which takes whatever time of it the runs leave."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1) if wanted]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def run(number: int, more: list[str], *, loaded: bool) -> bool:
    """One run, which is number `number`, and its row; whether it was green."""
    workers, shuffled = WORKERS[number % len(WORKERS)], number % 4 in (1, 2)
    seed = str(secrets.randbits(32)) if shuffled else "0"
    order = ["-p", "randomly", f"--randomly-seed={seed}"] if shuffled else []
    command = [sys.executable, "-m", "pytest", "-n", str(workers), *order, *more]
    log = FOLDER / f"{number + 1}.log"
    began = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "FAULTS_SEED": seed})
    result = "green" if done.returncode == 0 else "RED"
    told = seed if shuffled else "in order"
    row = (
        f"{number + 1:>3}  {time.monotonic() - began:>6.0f} s  {result:<6}  {told:>10}  {workers:>7}  "
        f"{'loaded' if loaded else 'idle'}"
    )
    names = FAILED.findall(log.read_text()) or ["no test failed, but the run did"] if done.returncode != 0 else []
    where = [f"see {log.relative_to(FOLDER.parent.parent)}"] if names else []
    print("\n       ".join([row, *names, *where]), flush=True)
    return done.returncode == 0


def runs(number: int, more: list[str]) -> Iterator[bool]:
    """All runs: two with the machine to themselves, one after the other, then two at once, which load each other."""
    for first in range(0, number, 4):
        yield from (run(each, more, loaded=False) for each in range(first, min(first + 2, number)))
        at_once = range(first + 2, min(first + 4, number))
        with load(wanted=bool(at_once)), ThreadPoolExecutor(2) as threads:
            yield from threads.map(lambda each: run(each, more, loaded=True), at_once)


def main(arguments: list[str]) -> int:
    """The command line: how many runs, and more words for pytest."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("run  duration  result        seed  workers  machine", flush=True)
    green = list(runs(int(arguments[0]), arguments[1:]))
    print(f"{sum(green)} of {len(green)} green")
    return 0 if all(green) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or ["20"]))
    except KeyboardInterrupt:
        sys.exit(130)
