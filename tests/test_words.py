"""The words of the code and the pages are the field's own: each stands once, and a newcomer knows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [*sorted((ROOT / "src").rglob("*.py")), *PAGES]
MEASURED = {ROOT / "docs/benchmarks.md"}  # written from results, with the names of the code that was measured
INSTEAD = {  # what is not said, and what is
    r"the books\b": "the database, the recorded state",
    r"\bmend(s|ed|ing)\b": "fix",
    r"\bcan(no|')t be meant\b": "is invalid",
    r"\bstand(s|ing)? still\b": "is suspended",
    r"\bwhoever\b": "each, if somebody",
    r"\blives? elsewhere\b": "remote, at a target",
    r"\btestif(y|ies|ied)\b": "is affected",
    r"\bstretch(es)?\b": "interval, selection",
    r"\bwatch over\b": "monitoring, session",
    r"\bis to be had\b": "is available",
    r"\btold\b": "notified, reported, gets to know",
}


@pytest.mark.parametrize("word", INSTEAD)
def test_a_word_that_has_a_better_one(word: str) -> None:
    """Nowhere in the code or on a page stands a word that the glossary replaces."""
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in FILES
        if file not in MEASURED
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if re.search(word, line, re.IGNORECASE)
    ]
    assert found == [], f"write {INSTEAD[word]} instead"


def test_the_glossary_is_in_order() -> None:
    """The glossary has each word once, in the order of the alphabet."""
    words = re.findall(r"^\| ([^|]+?) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE)[1:]
    words = [word for word in words if set(word) != {"-"}]
    assert words == sorted(set(words), key=str.lower)
