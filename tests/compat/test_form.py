"""Whether a file holds a tool is told from its syntax tree, and agrees with what running it tells."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from rollguard.compat import LARGEST, Form, form_of
from rollguard.errors import ToolLoadError
from rollguard.registry.serve.loader import load

CLASS = "class T:\n    def execute(self): ...\n    def get_tool_definition(self): return {}\n"
TOOL = "from rollguard import tool\n"
CASES = {
    Form.TOOL: [
        "def my_tool(): ...",
        "async def my_tool(): ...",
        "if True:\n    def my_tool(): ...",
        "my_tool = lambda: 1",
        "def other(): ...\nmy_tool = other",
        "import functools\nmy_tool = functools.partial(print, 1)",
        "class C:\n    def __call__(self): ...\nmy_tool = C()",
        f"{TOOL}@tool\ndef any_name(): ...",
        f"{TOOL}@tool(description='x')\ndef any_name(): ...",
        "import rollguard as r\n@r.tool\ndef any_name(): ...",
        CLASS,
        f"{CLASS}class Other: ...",
        "class B:\n    def execute(self): ...\nclass T(B):\n    def get_tool_definition(self): return {}",
        "# -*- coding: latin-1 -*-\ndef my_tool(): ...",
        "def ｍｙ_tool(): ...",
    ],
    Form.NONE: ["", "x = 1", "def other(): ...", "class my_tool: ...", "class T:\n    def execute(self): ..."],
    Form.BROKEN: [
        "def my_tool(:",
        f"{TOOL}@tool\ndef a(): ...\n@tool\ndef b(): ...",
        f"{TOOL}@tool\nclass A: ...",
        CLASS + CLASS.replace("class T", "class U"),
        "def my_tool(): ...\n\0",
    ],
    Form.UNKNOWN: [
        "from json import dumps as my_tool",
        "from json import *",
        "def make(): return print\nmy_tool = make()",
        "globals()['my_' + 'tool'] = print",
        "for my_tool in [print]: ...",
        "my_tool, other = print, 1",
        "import sys\nsys.modules[__name__].my_tool = print",
        "from collections.abc import Sized\nclass T(Sized):\n    def execute(self): ...",
        f"{TOOL}def f(): ...\ntool(f)",
        f"{TOOL}@tool\ndef a(): ...\na.__module__ = 'b'\n@tool\ndef c(): ...",
    ],
}


@pytest.mark.parametrize(("form", "code"), [(form, code) for form, codes in CASES.items() for code in codes])
def test_forms(form: Form, code: str) -> None:
    """Each kind of tool is recognised; what loads is never called none or broken, and what does not is never a tool."""
    content = code.encode("latin-1") if "latin-1" in code else code.encode()
    found = form_of(content, "my_tool")
    assert found.form is form
    assert bool(found.says) is (form is not Form.TOOL)
    try:
        load("my_tool", content, Path("/my_tool.py"), hashlib.sha256(content).hexdigest())
    except ToolLoadError:
        assert form is not Form.TOOL
    else:
        assert form in (Form.TOOL, Form.UNKNOWN)


def test_hyphens() -> None:
    """`my-tool.py` holds the function `my_tool`."""
    assert form_of(b"def my_tool(): ...", "my-tool").form is Form.TOOL


@pytest.mark.parametrize(
    ("code", "description"),
    [
        ('def my_tool():\n    """Says."""', "Says."),
        (f'{TOOL}@tool(description="Marks.")\ndef f():\n    """Says."""', "Marks."),
        ("def my_tool(): ...", None),
        ("class T:\n    def execute(self): ...\n    def get_tool_definition(self): return {'description': 'D'}", "D"),
        (CLASS.replace("{}", "{'function': {'description': 'F'}}"), "F"),
        (CLASS.replace("{}", "make()"), None),
    ],
)
def test_descriptions(code: str, description: str | None) -> None:
    """The description is read where the source has it literally."""
    assert form_of(code.encode(), "my_tool").description == description


@pytest.mark.parametrize(
    "code",
    [
        b"my_tool = " + b"1+" * 40_000 + b"1",
        b"if 0: pass\n" + b"elif my_tool: pass\n" * 3_000,
        b"x" * (LARGEST + 1),
    ],
    ids=["sum", "branches", "large"],
)
def test_what_is_not_read(code: bytes) -> None:
    """Code that is too large or too deep is unknown, and nothing is raised."""
    assert form_of(code, "my_tool").form is Form.UNKNOWN


def test_inheritance_is_read_once() -> None:
    """Classes that inherit from each other many times over take no more time than they have lines."""
    classes = "class A0:\n    def execute(self): ...\n    def get_tool_definition(self): return {}\n"
    classes += "".join(f"class A{n}(A{n - 1}, A{n - 1}): ...\n" for n in range(1, 100))
    assert form_of(classes.encode(), "my_tool").form is Form.BROKEN
