"""docs/tools.md: its code blocks run, in their order."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path
from typing import Any

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import ToolLoadError
from rollguard.registry import FailureRule
from tests.registry.helpers import executions

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_NAME = re.compile(r"In `([\w/]+\.py)`:\s*$")


def test_the_page(store: ExecutionStore, url: str, tools_dir: Path) -> None:
    """Every block of the page about tools runs: files become tools, the rest is run with a registry of them."""
    text = PAGE.read_text()
    files, scripts, tables = {}, [], []
    for match in BLOCK.finditer(text):
        named = FILE_NAME.search(text[: match.start()])
        if match[1] == "toml":
            tables.append(match[2])
        elif named:
            files[named[1]] = match[2]
        else:
            scripts.append(match[2])
    single = [name for name in sorted(files) if not name.startswith("units/")]
    assert single == ["counter.py", "greet.py", "mail.py", "price.py", "text.py", "weather.py"]
    for name, content in files.items():
        (tools_dir / name).parent.mkdir(exist_ok=True)
        (tools_dir / name).write_text(content)
    registry = ToolRegistry(tools_dir, store=store)
    assert registry.problems == {}
    assert len(registry.get_tool_definitions()) == 5 + 2 + 2

    space: dict[str, Any] = {"registry": registry, "ExecutionStore": ExecutionStore, "url": url}
    for script in scripts:
        exec(compile(script, str(PAGE), "exec"), space)
    assert space["result"] == "Hello, Ada!"
    greeting, weather = asyncio.run(space["main"]())
    assert (greeting, weather["city"]) == ("Hello, Ada!", "Oslo")
    with space["store"] as redacting, space["nothing_kept"]:
        given = {"user": "a", "password": "b", "comment": "c", "iban": "d"}
        redacting.store_tool_execution(tool_name="login", success=True, parameters=given)
    assert executions(store, "login")[0]["parameters"] == {"user": "a", "password": "***", "iban": "***"}
    assert registry.call("mail", to="ann", body="private") == {"sent": "ann"}
    (mail,) = executions(store, "mail")
    assert (mail["parameters"], mail["result"]) == ({"to": "ann"}, None)

    assert [registry.call("price", item=item) for item in ("apple", "pear")] == [1.5, None]
    assert [row["success"] for row in executions(store, "price")] == [True, False]
    assert [registry.call("counter", by=by) for by in (2, -5)] == [2, -3]
    assert [row["success"] for row in executions(store, "counter")] == [True, False]

    (table,) = map(tomllib.loads, tables)
    rule = FailureRule.from_settings("tools.weather.failure", table["tools"]["weather"]["failure"])
    assert [rule(r) for r in ({"error": "x"}, {"ok": False}, {"ok": True})] == [True, True, False]


def test_the_page_names_real_things(store: ExecutionStore, tools_dir: Path) -> None:
    """The files and limits that the page names are those of the code."""
    text = PAGE.read_text()
    registry = ToolRegistry(tools_dir, store=store)
    spool = registry.recorder.spool.path
    refused = registry.recorder.refused.path
    assert str(spool.relative_to(tools_dir)) in text
    assert str(refused.relative_to(tools_dir)) in text
    assert f"{16_384:,} bytes" in text
    assert ToolLoadError.__name__ in text
