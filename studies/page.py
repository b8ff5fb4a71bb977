"""Write the stored results into the pages of docs, between the markers of each table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import table
from studies.tables import ALL, Table

KEPT = Path(__file__).parent / "results.json"
_DOCS = Path(__file__).parents[1] / "docs"
PAGE = _DOCS / "deciding.md"
ELSEWHERE = {
    **dict.fromkeys(("gate", "noise"), _DOCS / "rehearse.md"),
    **dict.fromkeys(("rollouts", "rollouts_worse", "rollouts_stages"), _DOCS / "rollouts.md"),
}
"""The pages of tables that are not in `PAGE`."""


def kept() -> dict[str, Table]:
    """Return the stored results, by the names of their tables."""
    values = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return {name: Table(**values[name]) for name in ALL if name in values}


def keep(results: Mapping[str, Table]) -> None:
    """Store results beside the existing ones, and write them into the page."""
    every = {**kept(), **results}
    ordered = {name: every[name].to_dict() for name in ALL if name in every}
    KEPT.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for page in {page_of(name) for name in results}:
        shown = {name: result for name, result in every.items() if page_of(name) == page}
        page.write_text(filled(page.read_text("utf-8"), shown, page.name), "utf-8")


def page_of(name: str) -> Path:
    """Return the page that shows a table."""
    return ELSEWHERE.get(name, PAGE)


def filled(page: str, results: Mapping[str, Table], page_name: str = "deciding.md") -> str:
    """Return the page with the results between its markers.

    Raises:
        ValueError: the page does not have exactly one place for a result.
    """
    for name, result in results.items():
        made = f"<!-- study: {name} -->\n{table(result.columns, result.rows)}\n<!-- end -->"
        page, count = re.subn(rf"<!-- study: {name} -->\n.*?<!-- end -->", lambda _: made, page, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise ValueError(f"docs/{page_name} has {count} places for {name}, not one")
    return page
