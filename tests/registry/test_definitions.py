"""What a model is told of a tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore, ToolRegistry
from rollguard.errors import ToolLoadError
from rollguard.registry.serve.json_schema import definition_of
from rollguard.registry.serve.loader import load

HEAD = """
from __future__ import annotations
import datetime, decimal, enum, pathlib, typing, uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, TYPE_CHECKING
from pydantic import BaseModel, Field
from typing_extensions import TypedDict
if TYPE_CHECKING:
    from nowhere import Missing

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Point:
    x: int
    y: int = 0

class Order(BaseModel):
    item: str
    count: int = Field(default=1, ge=1)

class Options(TypedDict, total=False):
    depth: int

class Strange:
    pass
"""


def definition(code: str, name: str = "my_tool") -> dict[str, Any]:
    return definition_of(load(name, (HEAD + code).encode(), Path(f"/tools/{name}.py"), "0" * 64))


def parameters(signature: str) -> dict[str, Any]:
    described = definition(f"def my_tool({signature}): ...\n")["parameters"]
    json.dumps(described, allow_nan=False)
    assert described["type"] == "object"
    return described


@pytest.mark.parametrize(
    ("signature", "name", "schema"),
    [
        ("x: int", "x", {"type": "integer"}),
        ("x: str = 'a'", "x", {"type": "string", "default": "a"}),
        ("x: Optional[int] = None", "x", {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}),
        ("x: int | None", "x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("x: Literal['a', 'b']", "x", {"type": "string", "enum": ["a", "b"]}),
        ("x: list[dict]", "x", {"type": "array", "items": {"type": "object", "additionalProperties": True}}),
        ("x: dict[str, float]", "x", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("x: tuple[int, str]", "x", {"type": "array", "minItems": 2, "maxItems": 2,
                                     "prefixItems": [{"type": "integer"}, {"type": "string"}]}),
        ("x: Annotated[int, Field(ge=1, le=9, description='how many')]", "x",
         {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many"}),
        ("x: bytes", "x", {"type": "string", "format": "binary"}),
        ("x: datetime.datetime", "x", {"type": "string", "format": "date-time"}),
        ("x: pathlib.Path", "x", {"type": "string", "format": "path"}),
        ("x: uuid.UUID", "x", {"type": "string", "format": "uuid"}),
        ("x: Any", "x", {}),
        ("x", "x", {}),
        ("x: float = float('nan')", "x", {"type": "number"}),
        ("x, /", "x", {}),
        ("*, x: int", "x", {"type": "integer"}),
        ("model_x: int", "model_x", {"type": "integer"}),
        ("schema: str", "schema", {"type": "string"}),
        ("copy: bool", "copy", {"type": "boolean"}),
        ("self: int", "self", {"type": "integer"}),
        ("_private: int = 1", "_private", {"type": "integer", "default": 1}),
        ("tool_name: str", "tool_name", {"type": "string"}),
    ],
)  # fmt: skip
def test_parameters(signature: str, name: str, schema: dict[str, Any]) -> None:
    """Every signature becomes a JSON Schema of an object with each parameter by its name."""
    described = parameters(signature)
    found = described["properties"][name]
    assert found == schema
    assert (name in described.get("required", [])) is ("=" not in signature.partition("Field(")[0])
    assert described["additionalProperties"] is False


@pytest.mark.parametrize(
    ("annotation", "name", "keys"),
    [("Point", "Point", {"x", "y"}), ("Order", "Order", {"item", "count"}), ("Options", "Options", {"depth"})],
)
def test_models(annotation: str, name: str, keys: set[str]) -> None:
    """A dataclass, a pydantic model and a typed dictionary are described with their fields."""
    described = parameters(f"x: {annotation}")
    assert described["properties"]["x"] == {"$ref": f"#/$defs/{name}"}
    assert set(described["$defs"][name]["properties"]) == keys


def test_any_arguments() -> None:
    """`**options` allow further parameters, `*values` cannot be given by name and are not described."""
    described = parameters("a: int, *values: int, b: str = '', **options: int")
    assert list(described["properties"]) == ["a", "b"]
    assert described["additionalProperties"] == {"type": "integer"}
    assert parameters("") == {"type": "object", "properties": {}, "additionalProperties": False}


def test_return_annotation_is_not_asked_for() -> None:
    """A return type that exists for type checkers only does not keep the tool from being described."""
    assert definition("def my_tool(x: int) -> Missing: ...\n")["parameters"]["properties"] == {"x": {"type": "integer"}}


def test_what_cannot_be_described() -> None:
    """A parameter's type that does not exist is a `ToolLoadError` that names it."""
    with pytest.raises(ToolLoadError, match=r"my_tool: its parameters cannot be described: .*Missing"):
        definition("def my_tool(x: Missing): ...\n")
    with pytest.raises(ToolLoadError, match="its parameters cannot be described"):
        definition(
            "class Bad:\n    @classmethod\n    def __get_pydantic_core_schema__(cls, *a):\n        1 / 0\n"
            "def my_tool(x: Bad): ...\n"
        )


GOOGLE = '''
def my_tool(city: str, days: int = 1):
    """Tell the weather.

    It knows tomorrow's too.

    Args:
        city: Where to look.
        days: How far ahead,
            in days.
        absent: Not there.
    """
'''
NUMPY = '''
def my_tool(city: str, days: int = 1):
    """Tell the weather.

    It knows tomorrow's too.

    Parameters
    ----------
    city : str
        Where to look.
    days : int
        How far ahead,
        in days.
    """
'''
REST = '''
def my_tool(city: str, days: int = 1):
    """Tell the weather.

    It knows tomorrow's too.

    :param city: Where to look.
    :param days: How far ahead,
        in days.
    :returns: the weather
    """
'''


@pytest.mark.parametrize("code", [GOOGLE, NUMPY, REST], ids=["Google", "NumPy", "reST"])
def test_docstrings(code: str) -> None:
    """Descriptions of tool and parameters come from a docstring in Google's, NumPy's or reST's style."""
    described = definition(code)
    assert described["description"] == "Tell the weather.\n\nIt knows tomorrow's too."
    properties = described["parameters"]["properties"]
    assert properties["city"]["description"] == "Where to look."
    assert properties["days"]["description"].split() == ["How", "far", "ahead,", "in", "days."]
    assert set(properties) == {"city", "days"}


def test_said_elsewhere_wins() -> None:
    """`@tool(description=)` and a Field's description win over the docstring."""
    described = definition(
        "from rollguard import tool\n@tool(description='Said.')\n"
        "def any_name(x: Annotated[int, Field(description='Field says.')]):\n"
        '    """Docstring.\n\n    Args:\n        x: Docstring says.\n    """\n'
    )
    assert described["description"] == "Said."
    assert described["parameters"]["properties"]["x"]["description"] == "Field says."


@given(st.text(alphabet=st.sampled_from(":\n -_`*param returns Args:x()[]\t."), max_size=200))
def test_any_docstring(text: str) -> None:
    """No docstring, however odd, keeps a tool from being described."""
    described = definition(f"def my_tool(x: int): ...\nmy_tool.__doc__ = {text!r}\n")
    assert described["parameters"]["properties"]["x"]["type"] == "integer"


def test_decorated_function() -> None:
    """A wrapped function is described with its own signature."""
    described = definition(
        "import functools\n"
        "def traced(f):\n    @functools.wraps(f)\n    def inner(*a, **k): return f(*a, **k)\n    return inner\n"
        "@traced\ndef my_tool(x: int, *, y: Literal['a'] = 'a'):\n    'Says.'\n"
    )
    assert described["description"] == "Says."
    assert list(described["parameters"]["properties"]) == ["x", "y"]
    assert described["parameters"]["required"] == ["x"]


def test_own_definition(registry: ToolRegistry, tools_dir: Path) -> None:
    """A tool class's definition is returned as it is; one that fails or is no mapping is left out, and said."""
    head = "class T:\n    def execute(self, x):\n        return x\n    def get_tool_definition(self):\n        "
    (tools_dir / "own.py").write_text(head + "return {'name': 'own', 'input_schema': {'type': 'object'}}\n")
    (tools_dir / "raises.py").write_text(head + "raise KeyError('x')\n")
    (tools_dir / "quits.py").write_text(head + "raise SystemExit(1)\n")
    (tools_dir / "text.py").write_text(head + "return 'a text'\n")
    assert registry.get_tool_definitions() == [{"name": "own", "input_schema": {"type": "object"}}]
    for name, says in (("raises", "KeyError"), ("quits", "SystemExit"), ("text", "returned str, not a dict")):
        with pytest.raises(ToolLoadError, match=says):
            registry.get_tool_definition(name)
        assert registry.call(name, x=1) == 1


@pytest.fixture
def store(tmp_path: Path):
    """Definitions are about files, so one database is enough."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as opened:
        yield opened
