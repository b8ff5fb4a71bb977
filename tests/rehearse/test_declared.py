"""What a tool declares is read from its source, and decides how it is rehearsed; unknown is not safe."""

from __future__ import annotations

import pytest

import rollguard
from rollguard.errors import InvalidInput
from rollguard.rehearse import Characteristics, RehearsalRules, Strategy, declared, strategy_of

CLASS = """
class Tool:
    {0}
    def execute(self, x): return x
    def get_tool_definition(self): return {{"name": "t", "annotations": {{{1}}}}}
    def get_tool_characteristics(self): return {{{2}}}
"""
CASES = "def get_test_cases(self): return [{'input': {'x': 1}, 'expected_output': 1}]"


def marked(options: str) -> str:
    return f"from rollguard import tool\n@tool({options})\ndef t(x): return x\n"


@pytest.mark.parametrize(
    ("source", "strategy", "why"),
    [
        ("def t(x): return x", Strategy.MANUAL, "side effects are unknown"),
        (marked("read_only=True"), Strategy.SHADOW, "changes nothing"),
        (marked("side_effects=[]"), Strategy.SHADOW, "changes nothing"),
        (marked("read_only=False, side_effects=[]"), Strategy.MANUAL, "one that changes something"),
        (marked("read_only=True, side_effects=['mail']"), Strategy.MANUAL, "a repeated call changes something"),
        (marked("idempotent=True"), Strategy.REPLAY, "nothing more"),
        (marked("idempotent=True, side_effects=['db']"), Strategy.REPLAY, "nothing more"),
        (marked("read_only=True, requires=['KEY']"), Strategy.MANUAL, "needs KEY"),
        (CLASS.format("", "", "'side_effects': False"), Strategy.SHADOW, "changes nothing"),
        (CLASS.format("", "", "'side_effects': True, 'idempotent': True"), Strategy.REPLAY, "nothing more"),
        (CLASS.format("", "", "'side_effects': [], 'requires_mocking': True"), Strategy.MANUAL, "requires mocking"),
        (CLASS.format("", "'readOnlyHint': True", ""), Strategy.MANUAL, "unknown"),
        (CLASS.format("", "'destructiveHint': True", "'side_effects': []"), Strategy.MANUAL, "destructive"),
        (CLASS.format(CASES, "", ""), Strategy.SYNTHETIC, "declares test cases"),
        (CLASS.format("def get_test_cases(self): return make()", "", ""), Strategy.SYNTHETIC, "declares test cases"),
    ],
)
def test_the_strategy_follows_what_is_declared(source: str, strategy: Strategy, why: str) -> None:
    """Shadow needs no side effects, replay idempotence, synthetic test cases; a person decides about all others."""
    found, said = strategy_of(declared(source.encode(), "t"))
    assert found is strategy
    assert why in said


def test_settings_and_grants() -> None:
    """The settings say what the code does not, and what it needs is run only where they grant it."""
    tool = declared(b"def t(x): return x", "t").with_rules(RehearsalRules(read_only=True))
    assert strategy_of(tool)[0] is Strategy.SHADOW
    needs = declared(marked("read_only=True, requires=['KEY', 'api.host']").encode(), "t")
    assert (needs.variables, needs.hosts) == (("KEY",), ("api.host",))
    assert strategy_of(needs, ["KEY"])[0] is Strategy.MANUAL
    assert strategy_of(needs, ["KEY", "api.host"])[0] is Strategy.SHADOW


@pytest.mark.parametrize(
    "new",
    [
        Characteristics(read_only=False),
        Characteristics(side_effects=("mail",)),
        Characteristics(requires=("KEY",)),
        Characteristics(requires_mocking=True),
        Characteristics(destructive=True),
    ],
)
def test_a_candidate_can_only_make_it_stricter(new: Characteristics) -> None:
    """What a candidate declares about itself is believed where it speaks against running it, and not where for it."""
    assert strategy_of(Characteristics(read_only=True, side_effects=None).limited_by(new))[0] is Strategy.MANUAL
    bold = Characteristics(read_only=True, side_effects=(), idempotent=True)
    assert strategy_of(Characteristics().limited_by(bold))[0] is Strategy.MANUAL


def test_tool_takes_the_declarations() -> None:
    """`@tool` keeps what it is told, and refuses what is no truth or no list of names."""
    marked = rollguard.tool(read_only=True, side_effects=[], requires=["KEY"])(lambda x: x)
    assert marked.__rollguard_tool__.requires == ("KEY",)  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="read_only: 'yes'"):
        rollguard.tool(read_only="yes")  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="side_effects: 'mail'"):
        rollguard.tool(side_effects="mail")
