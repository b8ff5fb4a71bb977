"""`python -m studies [NAME...]`: compute the tables of docs/deciding.md and docs/rehearse.md and write them there."""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks.harness import table
from studies.page import keep
from studies.tables import ALL, Size


def main(arguments: list[str] | None = None, size: Size | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m studies", description="Compute the tables of docs/deciding.md and docs/rehearse.md."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(ALL)}; by default all")
    parser.add_argument("--show", action="store_true", help="only print them")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"{unknown[0]}: there is no such table; choose from: {', '.join(ALL)}")
    for name in given.names or ALL:
        began = time.monotonic()
        result = ALL[name](size or Size())
        print(f"\n{ALL[name].__doc__}\n\n{table(result.columns, result.rows)}", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if not given.show:
            keep({name: result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
