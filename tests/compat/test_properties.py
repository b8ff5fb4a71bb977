"""What holds of every version, whatever it looks like."""

from __future__ import annotations

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rollguard.compat import changes, read
from rollguard.compat.schema_diff import differences
from rollguard.registry.serve.json_schema import definition_of
from rollguard.registry.serve.loader import load

NAMES = st.sampled_from(["a", "b", "c", "d", "city", "unit"])
ANNOTATIONS = st.recursive(
    st.sampled_from(
        ["int", "str", "float", "bool", "None", "Any", "Unit", "Literal['C', 'F']", "Annotated[int, Field(ge=0, le=9)]"]
    ),
    lambda inner: st.one_of(
        inner.map("list[{}]".format),
        inner.map("Optional[{}]".format),
        inner.map("dict[str, {}]".format),
        st.tuples(inner, inner).map(lambda pair: f"Union[{pair[0]}, {pair[1]}]"),
    ),
    max_leaves=4,
)
HEAD = """\
from typing import Annotated, Any, Literal, Optional, Union
from pydantic import Field
Unit = Literal["K", "C"]
"""


@st.composite
def parameter(draw: st.DrawFn, name: str, *, optional: bool) -> str:
    """A parameter's source."""
    annotation = draw(st.none() | ANNOTATIONS)
    default = f" = {draw(st.sampled_from(['1', 'None', repr('x')]))}" if optional else ""
    return f"{name}{f': {annotation}' if annotation else ''}{default}"


@st.composite
def parameters(draw: st.DrawFn) -> list[str]:
    """A function's parameters by position, the required ones first, and perhaps keyword-only ones."""
    names = draw(st.lists(NAMES, unique=True, max_size=5))
    first_optional = draw(st.integers(0, len(names)))
    star = draw(st.integers(0, len(names)))
    made = [draw(parameter(name, optional=i >= first_optional)) for i, name in enumerate(names)]
    if star < len(names):
        made.insert(star, "*")
    return made


def code(made: list[str], body: str = "return 1", *, name: str = "weather") -> str:
    """The source of a tool."""
    return f"{HEAD}def {name}({', '.join(made)}):\n    {body}\n"


@given(parameters())
def test_code_compared_with_itself_has_no_changes(made: list[str]) -> None:
    """However it is written down: as it is, or as Python writes it."""
    source = code(made)
    assert changes(source, source, "weather") == ()
    assert changes(source, ast.unparse(ast.parse(source)), "weather") == ()


@given(parameters(), st.sampled_from(["return 2", "'''A docstring.'''; return 1", "x = 1  # why\n    return x"]))
def test_what_a_function_does_inside_is_no_change(made: list[str], body: str) -> None:
    """Docstrings, comments, blank lines and another body are no changes of the interface."""
    assert changes(code(made), "\n\n# a comment\n" + code(made, body), "weather") == ()


@given(parameters(), st.data())
def test_an_optional_parameter_is_never_breaking(made: list[str], data: st.DataObject) -> None:
    """A tool may get an optional parameter at any place, and nothing else is found."""
    new = data.draw(parameter("added", optional=True))
    places = [i for i in range(len(made) + 1) if _stays_valid([*made[:i], new, *made[i:]])]
    place = data.draw(st.sampled_from(places)) if places else len(made)
    found = changes(code(made), code([*made[:place], new, *made[place:]]), "weather")
    assert [(str(c.kind), c.parameter, c.breaking) for c in found] == [("parameter_added", "added", False)]


@given(parameters(), st.data())
def test_an_optional_parameter_at_the_end_is_never_breaking(made: list[str], data: st.DataObject) -> None:
    """Any function may get an optional parameter at the end, though it may be called by position."""
    new = data.draw(parameter("added", optional=True))
    old, grown = code(made, name="helper"), code([*made, new], name="helper")
    assert not any(c.breaking for c in changes(old + "def weather(): 0", grown + "def weather(): 0", "weather"))


@given(parameters(), st.data())
def test_a_removed_parameter_is_always_breaking(made: list[str], data: st.DataObject) -> None:
    """Whichever parameter is taken away, a call that gives it fails, and that is found."""
    named = [p for p in made if p != "*"]
    if not named:
        return
    gone = data.draw(st.sampled_from(named))
    rest = [p for p in made if p != gone]
    if rest[-1:] == ["*"]:
        rest.pop()
    found = changes(code(made), code(rest), "weather")
    assert ("parameter_removed", gone.split(":")[0].split(" =")[0]) in [
        (str(c.kind), c.parameter) for c in found if c.breaking
    ]


@given(parameters(), parameters())
def test_what_is_added_one_way_is_removed_the_other(one: list[str], other: list[str]) -> None:
    """Looked at the other way round, a parameter that is new is one that is gone, and a narrower type a wider one."""
    there, back = (changes(code(a), code(b), "weather") for a, b in ((one, other), (other, one)))

    def told(found: object, *kinds: str) -> set[str | None]:
        return {c.parameter for c in found if c.kind in kinds}  # type: ignore[attr-defined]

    assert told(there, "parameter_removed", "parameter_renamed") >= told(back, "parameter_added")
    assert told(there, "parameter_made_required") == told(back, "parameter_made_optional")
    assert told(there, "parameters_reordered") == told(back, "parameters_reordered")


SCHEMAS = st.recursive(
    st.one_of(
        st.just({}),
        st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda t: {"type": t}),
        st.lists(st.sampled_from(["a", "b", 1, 2, None]), min_size=1, unique=True).map(lambda v: {"enum": v}),
        st.builds(
            lambda a, b: {"type": "integer", "minimum": a, "maximum": a + b}, st.integers(-3, 3), st.integers(0, 5)
        ),
    ),
    lambda inner: st.one_of(
        inner.map(lambda s: {"type": "array", "items": s}),
        st.lists(inner, min_size=1, max_size=3).map(lambda s: {"anyOf": s}),
        st.builds(
            lambda p, r, closed: {
                "type": "object",
                "properties": p,
                "required": sorted(set(r) & set(p)),
                **({"additionalProperties": False} if closed else {}),
            },
            st.dictionaries(st.sampled_from(["p", "q"]), inner, max_size=2),
            st.lists(st.sampled_from(["p", "q"]), unique=True),
            st.booleans(),
        ),
    ),
    max_leaves=5,
)
VALUES = st.recursive(
    st.sampled_from(["a", "b", "c", 1, 2, -1, 7, 1.5, True, None]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["p", "q", "r"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def accepts(schema: dict, value: object) -> bool:
    """A small judge of JSON Schema, written from its definition and independent of what is tested."""
    if "anyOf" in schema:
        return any(accepts(s, value) for s in schema["anyOf"])
    if "enum" in schema:
        return any(type(v) is type(value) and v == value for v in schema["enum"])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        None: True,
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": number,
        "boolean": isinstance(value, bool),
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[schema.get("type")]
    if not fits:
        return False
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, list):
        return all(accepts(schema.get("items", {}), item) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return (
            set(schema.get("required", ())) <= set(value)
            and (schema.get("additionalProperties") is not False or set(value) <= set(properties))
            and all(accepts(properties.get(key, {}), item) for key, item in value.items())
        )
    return True


@given(SCHEMAS)
def test_a_schema_does_not_differ_from_itself(schema: dict) -> None:
    """No schema is narrower or wider than itself."""
    assert differences(schema, schema) == []


@given(SCHEMAS, SCHEMAS, VALUES)
def test_what_is_no_longer_taken_is_told(before: dict, after: dict, value: object) -> None:
    """Where a value was taken and no longer is, the schema is said to be narrower."""
    if accepts(before, value) and not accepts(after, value):
        assert any(d.narrower for d in differences(before, after))


@given(ANNOTATIONS)
def test_an_annotation_is_read_as_models_are_told_it(annotation: str) -> None:
    """The schema that is read from the source lets through what the tool's definition, made by running it, does."""
    source = code([f"x: {annotation}"])
    read_from_it = read(source, "weather").functions["weather"].parameters[0].schema
    tool = load("weather", source.encode(), Path("weather.py"), "0")
    told = definition_of(tool)["parameters"]["properties"]["x"]
    assert read_from_it is not None
    assert [d for d in differences(read_from_it, told) if d.narrower] == []
    assert [d for d in differences(told, read_from_it) if d.narrower] == []


def _stays_valid(made: list[str]) -> bool:
    try:
        ast.parse(code(made))
    except SyntaxError:
        return False
    return True
