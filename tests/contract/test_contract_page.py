"""docs/contract.md: every promise is numbered and names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.contract.sql import DOCS

ROOT = DOCS.parent
PAGE = "contract.md"
NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """The cells of every numbered row of the page."""
    lines = (DOCS / PAGE).read_text("utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d+ \|", line)]


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """The tests that a file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_promises_are_numbered_without_a_gap() -> None:
    """The promises are numbered from 1 on, each once, in order, and none stands there twice."""
    numbers = [int(row[0]) for row in rows()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 80


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_promise_names_tests_that_exist(row: list[str]) -> None:
    """A promise names at least one test, all that it names exist, and its last cell names nothing else."""
    named = NAME.findall(row[-1])
    assert named, f"promise {row[0]} names no test"
    assert NAME.sub("", row[-1]).replace("<br>", "") == ""
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert test in _tests_in(ROOT / file), f"{file}::{test}"


@pytest.mark.parametrize("folder", ["acceptance", "contract"])
def test_no_test_of_the_contract_is_left_out(folder: str) -> None:
    """Every acceptance and contract test but those of the two pages themselves proves a promise of the page."""
    named = {test for row in rows() for _, test in NAME.findall(row[-1])}
    for path in sorted((ROOT / "tests" / folder).glob("test_*.py")):
        if path.name not in ("test_contract_page.py", "test_sql_page.py"):
            assert _tests_in(path) - named == set(), path.name


def test_every_block_of_the_contract_is_run() -> None:
    """Each block that is kept word for word is read by some test."""
    blocks = {path.name for path in (ROOT / "tests/contract/blocks").iterdir()}
    text = "".join(path.read_text("utf-8") for path in (ROOT / "tests/contract").glob("test_*.py"))
    tables = set(re.findall(r'"(deployment_\w+)"', text))
    read = {name for name in blocks if f'"{name}"' in text}
    read |= {f"create_{table}.sql" for table in tables} & blocks
    assert blocks - read == set()
    assert len(blocks) == 16
