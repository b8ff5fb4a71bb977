"""`docs/deciding.md`: the tables in it, between markers, are those of the results that were kept."""

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
    """The results, by the names of their tables."""
    values = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    return {name: Table(**values[name]) for name in ALL if name in values}


def keep(results: Mapping[str, Table]) -> None:
    """Keep results beside those that are kept already, and write them into the page."""
    every = {**kept(), **results}
    ordered = {name: every[name].to_dict() for name in ALL if name in every}
    KEPT.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), every), "utf-8")


def filled(page: str, results: Mapping[str, Table]) -> str:
    """The page with the results between its markers."""
    for name, result in results.items():
        made = f"<!-- study: {name} -->\n{table(result.columns, result.rows)}\n<!-- end -->"
        page, count = re.subn(rf"<!-- study: {name} -->\n.*?<!-- end -->", lambda _: made, page, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            raise ValueError(f"docs/deciding.md has {count} places for {name}, not one")
    return page
