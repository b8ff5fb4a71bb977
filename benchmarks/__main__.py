"""`python -m benchmarks [NAME...] [--full] [--runs N] [--write] [--json]`: run benchmarks, show them, keep them."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time

from benchmarks.harness import Options, Result, machine, table
from benchmarks.page import ALL, keep


def measure(name: str, options: Options) -> Result:
    """Run one benchmark."""
    where = machine()
    result: Result = importlib.import_module(f"benchmarks.{name}").run(options)
    result.options = {"runs": options.runs, "full": options.full}
    result.machine = {**where, **result.machine}
    return result


def show(result: Result) -> str:
    """A result for the terminal."""
    lines = [f"\n{result.title}\n", table(result.columns, result.rows), ""]
    lines += [f"  {'met   ' if aim.met else 'MISSED'}  {aim.text}: {aim.measured}" for aim in result.aims]
    lines += [f"\n{aim.profile}" for aim in result.aims if aim.profile]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Rollguard costs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(ALL)}; all of them without")
    parser.add_argument("--full", action="store_true", help="the sizes that take minutes as well")
    parser.add_argument("--runs", type=int, default=5, help="each figure is the median of so many (default 5)")
    parser.add_argument("--write", action="store_true", help="keep the results and write docs/benchmarks.md")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--tiny", action="store_true", help="only try whether the benchmarks run")
    parser.add_argument(
        "--against", default=Options().against, metavar="COMMIT", help="what before_after compares with"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in ALL]
    if unknown:
        parser.error(f"{unknown[0]}: no such benchmark; there are: {', '.join(ALL)}")
    if given.write and given.tiny:
        parser.error("--tiny measures nothing that is worth being kept")
    options = Options(runs=given.runs, full=given.full, tiny=given.tiny, against=given.against)
    results = []
    for name in given.names or ALL:
        began = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        result = measure(name, options)
        results.append(result)
        if not given.json:
            print(show(result), flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if given.write:
            keep(result)
    if given.json:
        print(json.dumps([result.to_dict() for result in results], indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
