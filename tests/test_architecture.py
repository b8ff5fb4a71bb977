"""The page on the architecture shows the packages and imports that there are, and the words are the field's."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/architecture.md"
LAYERS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]["layers"]


def rooms() -> list[list[str]]:
    """The packages of each layer, the highest layer first."""
    return [[name.strip().removeprefix("rollguard.") for name in layer.split("|")] for layer in LAYERS]


def picture() -> str:
    """The packages by layers, and which imports which; an import that follows from others is left out."""
    graph = grimp.build_graph("rollguard")
    known = [name for layer in rooms() for name in layer]
    for name in known:
        if graph.find_children(f"rollguard.{name}"):
            graph.squash_module(f"rollguard.{name}")
    uses = {
        a: {
            b
            for b in known
            if b != a and graph.direct_import_exists(importer=f"rollguard.{a}", imported=f"rollguard.{b}")
        }
        for a in known
    }
    reach: dict[str, set[str]] = {}
    for name in reversed(known):
        reach[name] = uses[name].union(*(reach[other] for other in uses[name] if other in reach))
    lines = ["```mermaid", "flowchart TD"]
    for number, layer in enumerate(rooms()):
        if len(layer) > 1:
            lines.append(f"    subgraph layer{number}[ ]")
            lines += [*(f"        {name}" for name in layer), "    end"]
    for name in known:
        indirect: set[str] = set().union(*(reach[other] for other in uses[name]))
        lines += [f"    {name} --> {other}" for other in known if other in uses[name] - indirect]
    return "\n".join([*lines, "```"])


def test_the_picture_is_that_of_the_imports() -> None:
    """The picture of packages by layers is drawn from the imports; this prints the one that the page needs."""
    drawn = picture()
    assert drawn in PAGE.read_text("utf-8"), f"docs/architecture.md needs this picture:\n{drawn}"


@pytest.mark.parametrize("name", [name for layer in rooms() for name in layer])
def test_every_package_says_what_it_does(name: str) -> None:
    """The page's table has a row for each package, in the order of the layers, and the package a docstring."""
    assert importlib.import_module(f"rollguard.{name}").__doc__
    assert f"| `{name}" in PAGE.read_text("utf-8")


def test_the_layers_are_all_the_packages() -> None:
    """Nothing lies beside the layers: each module and package at the top belongs to one."""
    top = {
        path.stem
        for path in (ROOT / "src/rollguard").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert top - {"__init__", "__main__"} == {name for layer in rooms() for name in layer}
