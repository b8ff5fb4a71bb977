"""`docs/benchmarks.md` from the results that were kept. A benchmark that is run again replaces its own section only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import Result, table

ALL = (
    "caller_overhead",
    "payload_cost",
    "ingest",
    "otlp",
    "check_cost",
    "many_sessions",
    "recorder_memory",
    "decision",
    "backtest",
    "rollback_latency",
    "opportunities",
    "loop_cycle",
    "pages",
    "causes",
    "start_up",
    "sandbox_start",
    "service",
    "before_after",
)

KEPT = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

_HEAD = """# Benchmarks

<!-- Written by `make bench`; change the benchmarks, not this page. -->

What Rollguard costs, measured beside a limit or a peer in the same run. Each figure is the median of the runs that
its section names, and what is compared takes turns, so that a busy moment of the machine hits all of it. Ratios carry
over to other machines better than times do. An aim that is missed is reported as missed, with the profile that says
why.

```sh
make bench                          # every benchmark, and this page anew; installs into .venv-bench
make bench ARGS="--full --write"    # the sizes that take minutes as well
make bench ARGS="decision"          # one of them, only shown
make bench ARGS="before_after --against COMMIT"    # small figures of a commit, beside the present ones
```
"""


def keep(result: Result) -> None:
    """Keep one result beside the others, and write the page anew."""
    kept = {name: Result.from_dict(value) for name, value in _read().items()}
    kept[result.name] = result
    ordered = {name: kept[name] for name in ALL if name in kept}
    KEPT.write_text(json.dumps({k: r.to_dict() for k, r in ordered.items()}, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(ordered))


def page(results: Mapping[str, Result]) -> str:
    """The whole page."""
    return "\n".join([_HEAD, _summary(results), *(_section(result) for result in results.values())])


def _read() -> dict[str, dict[str, object]]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def _summary(results: Mapping[str, Result]) -> str:
    rows = [
        [f"[{result.title}](#{_anchor(result.title)})", aim.text, aim.measured, "met" if aim.met else "**missed**"]
        for result in results.values()
        for aim in result.aims
    ]
    return "## Aims\n\n" + table(["benchmark", "aim", "measured", ""], rows) + "\n"


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")


def _section(result: Result) -> str:
    options = f"{' --full' if result.options.get('full') else ''} --runs {result.options['runs']}"
    parts = [
        f"## {result.title}",
        result.about.strip(),
        f'```sh\nmake bench ARGS="{result.name}{options}"\n```',
        table(result.columns, result.rows),
        *(f"- {note}" for note in result.notes[:0]),
    ]
    if result.notes:
        parts.append("\n".join(f"- {note}" for note in result.notes))
    parts.append(
        "\n".join(f"- {'Met' if a.met else '**Missed**'}: {a.text}. Measured: {a.measured}." for a in result.aims)
    )
    parts += [f"Why “{aim.text}” is missed:\n\n```text\n{aim.profile}\n```" for aim in result.aims if aim.profile]
    parts.append("*" + " · ".join(f"{name}: {value}" for name, value in result.machine.items()) + "*")
    return "\n\n".join(parts) + "\n"
