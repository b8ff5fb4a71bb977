"""Write the stored results into `docs/deciding.md`, between the markers of each table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import table
from studies.tables import ALL, Table

KEPT = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[1] / "docs" / "deciding.md"


def kept() -> dict[str, Table]:
    """Return the stored results, by the names of their tables."""
    values = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return {name: Table(**values[name]) for name in ALL if name in values}


def keep(results: Mapping[str, Table]) -> None:
    """Store results beside the existing ones, and write them into the page."""
    every = {**kept(), **results}
    ordered = {name: every[name].to_dict() for name in ALL if name in every}
    KEPT.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), every), "utf-8")


def filled(page: str, results: Mapping[str, Table]) -> str:
    """Return the page with the results between its markers.

    Raises:
        ValueError: the page does not have exactly one place for a result.
    """
    for name, result in results.items():
        made = f"<!-- study: {name} -->\n{table(result.columns, result.rows)}\n<!-- end -->"
        page, count = re.subn(rf"<!-- study: {name} -->\n.*?<!-- end -->", lambda _: made, page, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise ValueError(f"docs/deciding.md has {count} places for {name}, not one")
    return page
