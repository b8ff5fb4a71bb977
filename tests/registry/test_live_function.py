"""`registry.function`: a tool as a function that an agent framework can describe and call."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import UnknownTool
from tests.registry.helpers import executions

WEATHER = '''from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Place:
    city: str

def weather(place: Place, /, days: int = 1, *, units: str = "C") -> dict[str, str]:
    """Tell the weather.

    Args:
        place: Where to look.
    """
    return {"version": "1"}
'''
COUNTER = """
class Counter:
    def execute(self, by: int = 1) -> int:
        return by

    def get_tool_definition(self) -> dict:
        return {"name": "counter", "description": "Counts.", "parameters": {"type": "object"}}
"""
PRICE = "from rollguard import tool\n\n@tool(description='Prices.')\ndef any(item: str) -> float:\n    return 1.5\n"


def test_it_looks_like_the_tool(registry: ToolRegistry) -> None:
    """It has the name, the signature, the types and the docstring of the tool."""
    registry.deploy("weather", WEATHER)
    function = registry.function("weather")
    assert function.__name__ == "weather"
    assert inspect.getdoc(function) == "Tell the weather.\n\nArgs:\n    place: Where to look."
    assert list(inspect.signature(function).parameters) == ["place", "days", "units"]
    hints = get_type_hints(function)
    assert (hints["place"].__name__, hints["days"], hints["units"]) == ("Place", int, str)


@pytest.mark.parametrize(("name", "code", "doc"), [("counter", COUNTER, "Counts."), ("price", PRICE, "Prices.")])
def test_descriptions_outside_the_docstring(registry: ToolRegistry, name: str, code: str, doc: str) -> None:
    """What `@tool` or a class's own definition says of the tool is the docstring; the name is the tool's."""
    registry.deploy(name, code)
    function = registry.function(name)
    assert (function.__name__, function.__doc__) == (name, doc)


def test_it_calls_the_live_version(registry: ToolRegistry, store: ExecutionStore) -> None:
    """Each call runs the version that is live then and is recorded with it and with the names of its parameters."""
    registry.deploy("weather", WEATHER)
    function = registry.function("weather")
    assert function("Oslo", 3, units="F") == {"version": "1"}
    registry.deploy("weather", WEATHER.replace('"1"}', '"2"}'))
    assert function("Bergen") == {"version": "2"}
    registry.restore("weather", 1)
    assert function(place="Oslo") == {"version": "1"}
    registry.recorder.flush()
    assert [(row["version_number"], row["parameters"]) for row in executions(store)] == [
        (1, {"place": "Oslo", "days": 3, "units": "F"}),
        (2, {"place": "Bergen"}),
        (1, {"place": "Oslo"}),
    ]


async def test_an_async_tool(registry: ToolRegistry, store: ExecutionStore) -> None:
    """The function of an async tool is async, and a plain version that goes live later is called through it too."""
    registry.deploy("weather", "async def weather(city: str) -> str:\n    return city\n")
    function = registry.function("weather")
    assert inspect.iscoroutinefunction(function)
    assert await function("Oslo") == "Oslo"
    registry.deploy("weather", "def weather(city: str) -> str:\n    raise LookupError(city)\n")
    with pytest.raises(LookupError):
        await function("Oslo")
    registry.recorder.flush()
    assert [(row["version_number"], row["success"]) for row in executions(store)] == [(1, True), (2, False)]


def test_types_that_cannot_be_described(registry: ToolRegistry) -> None:
    """The framework reads the types, not Rollguard: it knows its own contexts, which JSON cannot describe."""
    registry.deploy("weather", "from __future__ import annotations\n\ndef weather(context: Elsewhere): ...\n")
    assert registry.function("weather").__doc__ is None


def test_an_unknown_tool(registry: ToolRegistry) -> None:
    """A tool that is not there has no function."""
    with pytest.raises(UnknownTool):
        registry.function("nothing")
