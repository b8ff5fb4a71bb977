"""Pairs of versions of the tool `weather`, and every change that is to be found in them."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent


@dataclass(frozen=True)
class Case:
    """Two versions; what is found is (kind, function, parameter), breaking or compatible."""

    name: str
    before: str
    after: str
    breaking: tuple[tuple[str, str | None, str | None], ...] = ()
    compatible: tuple[tuple[str, str | None, str | None], ...] = ()


def case(name: str, before: str, after: str, *found: str) -> Case:
    """A case; each of `found` reads `! kind function parameter` where it is breaking, `- kind ...` where it is not."""
    split = [(words[0], tuple(w if w != "." else None for w in words[1:])) for words in map(str.split, found)]
    return Case(
        name,
        dedent(before),
        dedent(after),
        tuple(what for mark, what in split if mark == "!"),
        tuple(what for mark, what in split if mark == "-"),
    )


def annotated(name: str, before: str, after: str, *found: str, head: str = "") -> Case:
    """A case of one parameter `x` whose annotation changes."""
    body = "def weather(x: {}): return x\n"
    return case(
        f"{before} → {after}{name}",
        head + body.format(before),
        head + body.format(after),
        *(f"{mark} {kind} weather x" for mark, kind in map(str.split, found)),
    )


IMPORTS = """\
import enum, typing as t
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, List, Literal, Optional, TypedDict, Union
from pydantic import BaseModel, Field
import annotated_types as at
"""

TOOL_CLASS = """
class Weather:
    def execute(self, city, days=1): return city
    def get_tool_definition(self):
        return {{"name": "weather", "{key}": {schema}}}
"""


def definition(name: str, before: str, after: str, *found: str, key: str = "parameters") -> Case:
    """A case of a tool class whose own definition changes."""
    return case(
        f"definition: {name}",
        TOOL_CLASS.format(key=key, schema=before),
        TOOL_CLASS.format(key=key, schema=after),
        *found,
    )


CITY = '{"type": "object", "properties": {"city": %s, "days": {"type": "integer"}}, "required": %s}'

CORPUS = [
    # --- parameters ---
    case(
        "parameter removed", "def weather(city, days=1): 0", "def weather(city): 0", "! parameter_removed weather days"
    ),
    case(
        "required parameter added",
        "def weather(city): 0",
        "def weather(city, unit): 0",
        "! parameter_added weather unit",
    ),
    case(
        "optional parameter added",
        "def weather(city): 0",
        "def weather(city, unit='C'): 0",
        "- parameter_added weather unit",
    ),
    case(
        "optional one put first",
        "def weather(city=0): 0",
        "def weather(unit='C', city=0): 0",
        "- parameter_added weather unit",
    ),
    case(
        "made required",
        "def weather(city, days=1): 0",
        "def weather(city, days): 0",
        "! parameter_made_required weather days",
    ),
    case(
        "made optional",
        "def weather(city, days): 0",
        "def weather(city, days=1): 0",
        "- parameter_made_optional weather days",
    ),
    case("renamed", "def weather(city: str): 0", "def weather(town: str): 0", "! parameter_renamed weather city"),
    case(
        "reordered",
        "def weather(city, unit): 0",
        "def weather(unit, city): 0",
        "! parameters_reordered weather .",
    ),
    case("keyword-only ones have no order", "def weather(*, a, b): 0", "def weather(*, b, a): 0"),
    case(
        "keyword-only now", "def weather(city): 0", "def weather(*, city): 0", "- parameter_kind_changed weather city"
    ),
    case("another default", "def weather(n=1): 0", "def weather(n=2): 0", "- default_changed weather n"),
    case(
        "taken by **",
        "def weather(a, n=1): 0",
        "def weather(a, **more): 0",
        "- parameter_removed weather n",
        "- parameter_added weather **more",
    ),
    case("** is gone", "def weather(a, **more): 0", "def weather(a): 0", "! parameter_removed weather **more"),
    case(
        "* is gone, which a call by name cannot reach",
        "def weather(*a): 0",
        "def weather(): 0",
        "- parameter_removed weather *a",
    ),
    case(
        "several at once",
        "def weather(city: str, days: int = 1, unit='C'): 0",
        "def weather(city: int, days: int, *, lang='en'): 0",
        "! parameter_retyped weather city",
        "! parameter_made_required weather days",
        "! parameter_removed weather unit",
        "- parameter_added weather lang",
    ),
    # --- types ---
    *(
        annotated("", before, after, *found, head=IMPORTS)
        for before, after, *found in [
            ("int", "str", "! parameter_retyped"),
            ("int", "float", "- parameter_widened"),
            ("float", "int", "! parameter_retyped"),
            ("str", "str | None", "- parameter_widened"),
            ("Optional[str]", "str", "! parameter_narrowed"),
            ("t.Union[int, str]", "int", "! parameter_narrowed"),
            ("str", "'str'"),
            ("Optional[int]", "int | None"),
            ("Union[str, int]", "int | str"),
            ("List[int]", "list[int]"),
            ("list", "list[Any]"),
            ("list[int]", "list[str]", "! parameter_narrowed"),
            ("list[int]", "list[int | None]", "- parameter_widened"),
            ("dict[str, int]", "dict[str, float]", "- parameter_widened"),
            ("tuple[int, int]", "tuple[int, int, int]", "! parameter_narrowed", "- parameter_widened"),
            ("list[int]", "set[int]", "! parameter_narrowed"),
            ("Any", "int", "! parameter_narrowed"),
            ("int", "Any", "- parameter_widened"),
            ("Literal['C', 'F']", "Literal['C']", "! parameter_narrowed"),
            ("Literal['C']", "t.Literal['C', 'F']", "- parameter_widened"),
            ("Literal['C', 'F']", "Literal['F', 'C']"),
            ("Literal['C', 'F']", "Literal['K']", "! parameter_retyped", "- parameter_widened"),
            ("str", "Literal['C', 'F']", "! parameter_narrowed"),
            ("Literal['C', 'F']", "str", "- parameter_widened"),
            ("Literal['C', None]", "Literal['C']", "! parameter_narrowed"),
            ("Annotated[int, 'a note']", "int"),
            ("Annotated[int, Field(description='a')]", "Annotated[int, Field(description='b')]"),
            ("int", "Annotated[int, Field(ge=0)]", "! parameter_narrowed"),
            ("Annotated[int, Field(ge=0)]", "Annotated[int, Field(ge=-5)]", "- parameter_widened"),
            ("Annotated[int, Field(ge=0)]", "Annotated[int, Field(gt=0)]", "! parameter_narrowed"),
            ("Annotated[int, Field(ge=0)]", "Annotated[int, at.Ge(0)]"),
            ("Annotated[int, at.Le(9)]", "Annotated[int, at.Le(8)]", "! parameter_narrowed"),
            ("Annotated[str, Field(max_length=9)]", "Annotated[str, Field(max_length=5)]", "! parameter_narrowed"),
            ("Annotated[list[int], Field(min_length=1)]", "list[int]", "- parameter_widened"),
            ("Annotated[str, Field(pattern='^a')]", "Annotated[str, Field(pattern='^b')]", "! parameter_narrowed"),
            ("Annotated[int, Field(multiple_of=4)]", "Annotated[int, Field(multiple_of=2)]", "- parameter_widened"),
            ("Annotated[int | None, Field(le=9)]", "Annotated[int | None, Field(le=8)]", "! parameter_narrowed"),
            ("str", "date", "! parameter_narrowed"),
            ("np.ndarray", "pd.DataFrame", "! parameter_retyped"),
            ("np.ndarray | None", "np.ndarray", "! parameter_narrowed"),
        ]
    ),
    case(
        "a type where none was", "def weather(city): 0", "def weather(city: str): 0", "- parameter_retyped weather city"
    ),
    case("no type any more", "def weather(city: str): 0", "def weather(city): 0", "- parameter_retyped weather city"),
    case(
        "bounds as a default",
        "from pydantic import Field\ndef weather(n: int = Field(1, ge=0)): 0",
        "from pydantic import Field\ndef weather(n: int = Field(ge=1)): 0",
        "! parameter_made_required weather n",
        "! parameter_narrowed weather n",
    ),
    case(
        "an alias loses a member",
        "from typing import Literal\nUnit = Literal['C', 'F']\ndef weather(unit: Unit): 0",
        "from typing import Literal\nUnit = Literal['C']\ndef weather(unit: Unit): 0",
        "! parameter_narrowed weather unit",
    ),
    case(
        "an enum loses a member",
        "import enum\nclass _Unit(enum.StrEnum):\n C = enum.auto()\n F = enum.auto()\ndef weather(unit: _Unit): 0",
        "import enum\nclass _Unit(enum.StrEnum):\n C = enum.auto()\ndef weather(unit: _Unit): 0",
        "! parameter_narrowed weather unit",
    ),
    case(
        "a model needs another field",
        IMPORTS + "class _Place(BaseModel):\n    city: str\ndef weather(place: _Place): 0",
        IMPORTS + "class _Place(BaseModel):\n    city: str\n    country: str\ndef weather(place: _Place): 0",
        "! parameter_narrowed weather place",
    ),
    case(
        "a dataclass gets an optional field",
        IMPORTS + "@dataclass\nclass _Place:\n    city: str\ndef weather(place: _Place): 0",
        IMPORTS + "@dataclass\nclass _Place:\n    city: str\n    country: str = ''\ndef weather(place: _Place): 0",
        "- parameter_widened weather place",
    ),
    case(
        "a TypedDict's key becomes required",
        IMPORTS + "class _Place(TypedDict, total=False):\n    city: str\ndef weather(place: _Place): 0",
        IMPORTS + "class _Place(TypedDict):\n    city: str\ndef weather(place: _Place): 0",
        "! parameter_narrowed weather place",
    ),
    case(
        "a model's own type within a type",
        IMPORTS
        + "class _Node(BaseModel):\n    next: '_Node | None' = None\n    n: int = 0\ndef weather(x: list[_Node]): 0",
        IMPORTS
        + "class _Node(BaseModel):\n    next: '_Node | None' = None\n    n: str = ''\ndef weather(x: list[_Node]): 0",
        "! parameter_narrowed weather x",
    ),
    # --- functions ---
    case("result of another type", "def weather() -> dict: 0", "def weather() -> str: 0", "! result_retyped weather ."),
    case(
        "result that is always there",
        "def weather() -> int | None: 0",
        "def weather() -> int: 0",
        "- result_retyped weather .",
    ),
    case("async now", "def weather(): 0", "async def weather(): 0", "! function_made_async weather ."),
    case("async no more", "async def weather(): 0", "def weather(): 0", "- function_made_sync weather ."),
    case("helper removed", "def helper(a): 0\ndef weather(): 0", "def weather(): 0", "! function_removed helper ."),
    case(
        "helper renamed",
        "def helper(a, b=1):\n    '''Old.'''\n    return a + b\ndef weather(): 0",
        "def weather(): 0\ndef assist(a, b=1):\n    return a + b",
        "! function_renamed helper .",
    ),
    case(
        "a helper that calls itself renamed",
        "def helper(n): return n and helper(n - 1)\ndef weather(): 0",
        "def assist(n): return n and assist(n - 1)\ndef weather(): 0",
        "! function_renamed helper .",
    ),
    case("helper added", "def weather(): 0", "def helper(): 0\ndef weather(): 0", "- function_added helper ."),
    case("private helper removed", "def _helper(a): 0\ndef weather(): 0", "def weather(): 0"),
    case(
        "not exported",
        "__all__ = ['weather']\ndef helper(a): 0\ndef weather(): 0",
        "__all__ = ['weather']\ndef weather(): 0",
    ),
    case(
        "helper's parameter put first",
        "def helper(a): 0\ndef weather(): 0",
        "def helper(b=1, a=2): 0\ndef weather(): 0",
        "- parameter_made_optional helper a",
        "- parameter_added helper b",
        "! parameters_reordered helper b",
    ),
    case(
        "helper's parameter keyword-only",
        "def helper(a): 0\ndef weather(): 0",
        "def helper(*, a): 0\ndef weather(): 0",
        "! parameter_kind_changed helper a",
    ),
    case(
        "the tool is gone",
        "def weather(x): return x",
        "def other(x): 0",
        "! tool_removed weather .",
        "- function_added other .",
    ),
    case("the tool is renamed", "def weather(x): return x", "def other(x): return x", "! function_renamed weather ."),
    case(
        "marked, and called differently",
        "from rollguard import tool\n@tool\ndef fetch(x): 0",
        "from rollguard import tool\n@tool\ndef get(x, y): 0",
        "! parameter_added get y",
        "- function_renamed fetch .",
    ),
    case(
        "under a condition",
        "if True:\n    def weather(a): 0",
        "try:\n    pass\nfinally:\n    def weather(): 0",
        "! parameter_removed weather a",
    ),
    case(
        "by assignment",
        "def _run(a, b=1): 0\nweather = _run",
        "weather = lambda a: a",
        "! parameter_removed weather b",
        "- function_renamed _run .",
    ),
    case(
        "an instance that is called",
        "class _W:\n    def __call__(self, a, b=1): 0\nweather = _W()",
        "class _W:\n    def __call__(self, a): 0\nweather = _W()",
        "! parameter_removed _W.__call__ b",
    ),
    case(
        "a partial of a function",
        "import functools as f\ndef _w(k, a, b, c=1): 0\nweather = f.partial(_w, 7, b=2)",
        "import functools as f\ndef _w(k, a, c): 0\nweather = f.partial(_w, 8)",
        "! parameter_removed _w b",
        "! parameter_made_required _w c",
    ),
    case(
        "what a partial gives by position and callers never did",
        "from functools import partial\ndef _w(k, a): 0\nweather = partial(_w, 7)",
        "from functools import partial\ndef _w(key, a): 0\nweather = partial(_w, 7)",
    ),
    case(
        "made by a call of which nothing is known",
        "def _w(a, b): 0\nweather = wrapped(_w)",
        "def _w(a): 0\nweather = wrapped(_w)",
        "- unreadable . .",
    ),
    case(
        "imported now",
        "def weather(a): 0",
        "from lib import weather",
        "- unreadable . .",
    ),
    case(
        "what ** takes is of another type",
        "def weather(**more: int): 0",
        "def weather(**more: str): 0",
        "! parameter_retyped weather more",
    ),
    # --- classes ---
    case("class removed", "class Place: ...\ndef weather(): 0", "def weather(): 0", "! class_removed Place ."),
    case(
        "class renamed",
        "class Place:\n    x = 1\ndef weather(): 0",
        "class Spot:\n    x = 1\ndef weather(): 0",
        "! class_renamed Place .",
    ),
    case(
        "method removed",
        "class Place:\n    def name(self): 0\ndef weather(): 0",
        "class Place: ...\ndef weather(): 0",
        "! function_removed Place.name .",
    ),
    case(
        "a tool class's parameter is gone",
        TOOL_CLASS.format(key="parameters", schema="{}"),
        TOOL_CLASS.format(key="parameters", schema="{}").replace(", days=1", ""),
        "! parameter_removed Weather.execute days",
    ),
    case(
        "a tool class inherits",
        "class Base:\n    def execute(self, a): 0\nclass Weather(Base):\n    def get_tool_definition(self): return {}",
        "class Base:\n    def execute(self): 0\nclass Weather(Base):\n    def get_tool_definition(self): return {}",
        "! parameter_removed Weather.execute a",
        "! parameter_removed Base.execute a",
    ),
    case(
        "from a function to a class",
        "def weather(city, days): 0",
        TOOL_CLASS.format(key="parameters", schema="{}"),
        "- parameter_made_optional Weather.execute days",
        "- function_renamed weather .",
    ),
    definition("same", CITY % ('{"type": "string"}', '["city"]'), CITY % ('{"type": "string"}', '["city"]')),
    definition(
        "enum narrowed",
        CITY % ('{"enum": ["Oslo", "Rome"]}', '["city"]'),
        CITY % ('{"type": "string", "enum": ["Oslo"]}', '["city"]'),
        "! parameter_narrowed Weather.execute city",
    ),
    definition(
        "required",
        CITY % ('{"type": "string"}', '["city"]'),
        CITY % ('{"type": "string"}', '["city", "days"]'),
        "! parameter_made_required Weather.execute days",
        key="input_schema",
    ),
    definition(
        "type list and bound",
        CITY % ('{"type": ["string", "null"], "minLength": 1}', "[]"),
        CITY % ('{"type": "string", "minLength": 2}', "[]"),
        "! parameter_narrowed Weather.execute city",
        "! parameter_narrowed Weather.execute city",
    ),
    definition(
        "property removed",
        CITY % ('{"type": "string"}', "[]"),
        '{"type": "object", "properties": {"city": {"type": "string"}}}',
        "! parameter_removed Weather.execute days",
    ),
    definition(
        "closed object inside, by reference",
        '{"type": "object", "properties": {"city": {"$ref": "#/$defs/c"}}, "$defs": {"c": {"type": "object"}}}',
        '{"type": "object", "properties": {"city": {"$ref": "#/$defs/c"}}, '
        '"$defs": {"c": {"type": "object", "additionalProperties": False}}}',
        "! parameter_narrowed Weather.execute city",
    ),
    # --- files ---
    case("no Python any more", "def weather(): 0", "def weather(:", "! unreadable . ."),
    case("Python again", "def weather(:", "def weather(): 0", "- unreadable . ."),
    case("neither is Python", "def weather(:", "def weather((:"),
    case("too deep to be compared", "def weather(): 0", "def weather(x=" + "-" * 5_000 + "1): 0", "- unreadable . ."),
    case(
        "a long sum is no depth",
        "def weather(): return " + " + ".join("1" * 700),
        "def weather(a): return " + " + ".join("1" * 700),
        "! parameter_added weather a",
    ),
]
