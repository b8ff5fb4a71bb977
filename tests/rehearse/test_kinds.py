"""Tools of every kind are rehearsed as they are called: recorded by the registry, run in the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from rollguard import Rollguard, Settings
from rollguard.rehearse import Verdict

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")]

MARK = "from rollguard import tool\n"
BODY = '    value = float(amount)\n    return {"total": value * count}\n'
STREAM = '    value = float(amount)\n    yield {"part": 1}\n    yield {"total": value * count}\n'
TOOL = "@tool(read_only=True)\n"
WRAPPED = """
import functools
def as_is(f):
    @functools.wraps(f)
    def g(*a, **k):
        return f(*a, **k)
    return g
"""
CLASS = """
class Price:
    def get_tool_definition(self):
        return {"name": "price", "description": "a price", "input_schema": {"type": "object"}}
    def get_tool_characteristics(self):
        return {"idempotent": True, "side_effects": False, "safe_for_shadow_testing": True}
    def execute(self, amount, count=1):
        return {"total": float(amount) * count}
"""
KINDS = {
    "async": f"{MARK}{TOOL}async def price(amount, count=1):\n{BODY}",
    "generator": f"{MARK}{TOOL}def price(amount, count=1):\n{STREAM}",
    "async generator": f"{MARK}{TOOL}async def price(amount, count=1):\n{STREAM}",
    "decorated": f"{MARK}{WRAPPED}{TOOL}@as_is\ndef price(amount, count=1):\n{BODY}",
    "cached": f"{MARK}import functools\n{TOOL}@functools.lru_cache\ndef price(amount, count=1):\n{BODY}",
    "positional only": f"{MARK}{TOOL}def price(amount, /, count=1):\n{BODY}",
    "keyword only": f"{MARK}{TOOL}def price(*, amount, count=1):\n{BODY}",
    "any keywords": f"{MARK}{TOOL}def price(amount, count=1, **others):\n{BODY}",
    "class": CLASS,
    "beside another": f"{MARK}{TOOL}def other(x):\n    return x\n{TOOL}def price(amount, count=1):\n{BODY}",
}


async def awaited(result: Any) -> Any:
    if inspect.iscoroutine(result):
        result = await result
    return [item async for item in result] if hasattr(result, "__aiter__") else result


def read(result: Any) -> Any:
    """What a caller of the tool does with what a call returns."""
    if inspect.iscoroutine(result) or hasattr(result, "__aiter__"):
        return asyncio.run(awaited(result))
    return list(result) if inspect.isgenerator(result) else result


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_of_any_kind(kind: str, tmp_path: Path) -> None:
    """The right repair passes, and one that changes what works is refused, of whatever kind the tool is."""
    source, name = KINDS[kind], "shop/price" if kind == "beside another" else "price"
    (tmp_path / "tools").mkdir()
    with Rollguard(Settings(database=f"sqlite:///{tmp_path}/rollguard.db", tools_dir=tmp_path / "tools")) as guard:
        (tmp_path / "tools" / f"{name.partition('/')[0]}.py").write_text(source)
        for n in range(30):
            with contextlib.suppress(ValueError):
                amount = str(n) if n % 3 else f"{n + 1},{n + 300}"
                read(guard.registry.call(name, amount=amount, count=n % 4 + 1))
        right = source.replace("float(amount)", 'float(amount.replace(",", ""))')
        done = guard.rehearser.rehearse(name, right)
        assert (done.verdict, done.to_dict()["fixed"], done.to_dict()["moved"]) == (Verdict.PASSES, 10, 0)
        wrong = guard.rehearser.rehearse(name, right.replace("* count", "+ count"))
        assert (wrong.verdict, wrong.to_dict()["changed"] > 10) == (Verdict.ASK, True)
