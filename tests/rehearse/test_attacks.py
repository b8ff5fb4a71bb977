"""What an author of a wrong repair tries: to do right in a rehearsal only, or to look right where nobody looks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rollguard.rehearse import Call, RehearsalRules, Verdict
from rollguard.rehearse.source_checks import source_reasons
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind
from rollguard.sandbox.runner import Runner
from rollguard.sandbox.tool_file import Found
from tests.rehearse.running import in_process
from tests.rehearse.test_gate import FIX, OLD, RIGHT, checks, instead, recorded, tried


def with_lines(*lines: str, before: str = "") -> str:
    """The right repair with more lines."""
    return before + "\n" + instead("\n    ".join((FIX, *lines)))


WRONG_LATER = [
    ("chance", "import time", "if time.time() > 2e9:", "    count = 0"),
    ("chance", "from datetime import datetime as d", "if d.now().year > 2027:", "    count = 0"),
    ("chance", "import random", "if random.random() < 1e-12:", "    count = 0"),
    ("chance", "", "if hash(amount) % 1000 == -1:", "    count = 0"),
    ("state", "SEEN = {}", "SEEN[amount] = 1", "if len(SEEN) > 99:", "    count = 0"),
    ("state", "N = 0", "global N", "N += 1"),
    ("state", "import itertools\nC = itertools.count()", "if next(C) > 999:", "    count = 0"),
    ("state", "", "price.calls = 1"),
    ("state", "class K: n = 0", "K.n += 1"),
    ("state", "import json", "if not amount:", "    json.dumps = None"),
    ("imports", "import logging", "if logging.os.getuid() == 7:", "    count = 0"),
    ("imports", "from logging import os", "if os.getuid() == 7:", "    count = 0"),
    ("imports", "import warnings", "if warnings.sys.argv == 7:", "    count = 0"),
    ("imports", "import string", "if getattr(string, '_' + 're') == 7:", "    count = 0"),
    ("imports", "import threading", "if threading.active_count() == 77:", "    count = 0"),
    ("imports", "import dateutil", "pass"),
    ("imports", "", "if __file__ == 7:", "    count = 0"),
    ("imports", "", "if print.__self__ == 7:", "    count = 0"),
    ("imports", "", "if '{0.__code__.co_filename}'.format(price) == 7:", "    count = 0"),
    ("imports", "", "if (n for n in ()).gi_frame.f_back == 7:", "    count = 0"),
]


@pytest.mark.parametrize("tried_how", WRONG_LATER, ids=lambda how: how[2][:40])
def test_what_may_do_otherwise_later_is_left_to_a_person(tried_how: tuple[str, ...]) -> None:
    """New use of the clock, chance, memory of earlier calls, or what runs the tool does not pass by itself."""
    check, before, *lines = tried_how
    done = tried(with_lines(*lines, before=before))
    assert done.verdict is Verdict.ASK
    assert checks(done) == {check}


def test_memory_by_a_decorator_or_a_default() -> None:
    """Results that are kept, and defaults that live as long as the function, are memory of earlier calls."""
    assert checks(tried(f"from functools import lru_cache\n@lru_cache\n{RIGHT.lstrip()}")) == {"state"}
    assert checks(tried(RIGHT.replace("count=1)", "count=1, kept=[])"))) == {"state"}


def test_what_the_live_version_does_too_is_not_asked_about() -> None:
    """Only what is new is asked about; the clock also if it is asked more often than before."""
    once = "import time\nSEEN = []\ndef price(amount, count=1):\n    SEEN.append(time.time())\n    {0}return amount\n"
    old = once.format("").encode()
    assert source_reasons(old, once.format("amount = str(amount)\n    ").encode(), "price", RehearsalRules()) == []
    (reason,) = source_reasons(
        old, once.format("if time.time() > 2e9: return 0\n    ").encode(), "price", RehearsalRules()
    )
    assert reason.check == "chance"


HARMLESS = [
    ("from urllib.parse import unquote", "amount = unquote(amount)"),
    ("import os", "amount = os.path.basename(amount)"),
    ("import os.path", "amount = os.path.splitext(amount)[0] or amount"),
    ("import re\nCOMMA = re.compile(',')", "amount = COMMA.sub('', amount)"),
    ("from datetime import date, time, datetime as d", "d.fromisoformat('2026-01-01')"),
    ("import decimal", "amount = str(decimal.Decimal(amount))"),
    ("import logging\nlog = logging.getLogger(__name__)", "log.debug('price of %s', amount)"),
    ("import io", "amount = io.StringIO(amount).read()"),
    ("SIGN = ','\ndef _plain(text):\n    return text.replace(SIGN, '')", "amount = _plain(amount)"),
    ("", "kept = []", "kept.append(amount)", "amount = kept[0]"),
    ("", "name = type(amount).__name__"),
    ("import time", "time.sleep(0)"),
    ("from collections import Counter", "seen = Counter(amount)", "seen.update('x')"),
]


@pytest.mark.parametrize("tried_how", HARMLESS, ids=lambda how: how[1][:40])
def test_what_people_write_passes(tried_how: tuple[str, ...]) -> None:
    """A right repair with a helper, a constant or a harmless module of the standard library passes."""
    before, *lines = tried_how
    assert tried(with_lines(*lines, before=before)).reasons == ()


HIDDEN = {
    "a finally": "try:\n        return float(amount)\n    finally:\n        return 0.0",
    "an inner function": "def f():\n        try:\n            return float(amount)\n        except Exception:\n"
    "            return 0.0\n    return f()",
    "a group": "r = 0.0\n    try:\n        x = float(amount)\n        y = x\n        r = y\n"
    "    except* Exception:\n        pass\n    return r",
    "a raise that is never reached": "try:\n        x = float(amount)\n        y = x\n        return y\n"
    "    except Exception:\n        return 0.0\n    raise ValueError",
}


@pytest.mark.parametrize("how", HIDDEN)
def test_errors_are_hidden_in_many_ways(how: str) -> None:
    """An error of nearly all of a tool is hidden by a return from `finally`, in an inner function, or by a group."""
    done = tried(
        f"def price(amount, count=1):\n    {HIDDEN[how]}\n", old="def price(amount, count=1):\n    return float(amount)"
    )
    assert (done.verdict, checks(done)) == (Verdict.REFUSED, {"hidden_errors"})


def test_a_context_manager_that_ignores_errors() -> None:
    """A class whose `__exit__` returns something may ignore errors, and is left to a person."""
    manager = "class S:\n    def __enter__(self): return self\n    def __exit__(self, *error): return True\n"
    assert "hidden_errors" in checks(tried(manager + RIGHT))


def test_another_judge_of_results() -> None:
    """A candidate does not fix failures by no longer finding them failures."""
    marked = "from rollguard import tool\n@tool(is_failure=lambda r: not r['total'])\n"
    assert "is_failure" in checks(
        tried("from rollguard import tool\n@tool\n" + RIGHT.lstrip(), old=marked + OLD.lstrip())
    )
    assert "is_failure" not in checks(tried(marked + RIGHT.lstrip(), old=marked + OLD.lstrip()))


def test_small_numbers_are_no_inputs_learned_by_heart() -> None:
    """A repair may hold small whole numbers, such as an index, that some failed calls hold, too."""
    calls = (*recorded(), Call("b10", {"amount": "9,999", "count": 12}, False, signature="ValueError"))
    done = tried(with_lines("for _at in (5, 6):", "    amount = amount"), calls=calls)
    assert done.verdict is not Verdict.REFUSED


def test_a_failure_that_nobody_held_out() -> None:
    """Where its author saw all failures, nothing shows that a repair is more than those: a person decides."""
    seen = tuple(replace(call, held_out=False) for call in recorded())
    assert checks(tried(RIGHT, calls=seen)) == {"unseen"}


def test_a_fixed_call_returns_the_same_each_time() -> None:
    """A repair that returns the right result at first, and then others, does not pass."""
    turn = 0

    def later(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        nonlocal turn
        turn += source == RIGHT.encode()
        found = in_process(source, name, inputs, limits)
        wrong = Outcome(OutcomeKind.RETURNED, '{"total": 0.5, "currency": "EUR"}')
        bad = [turn > 1 and source == RIGHT.encode() and "," in given["amount"] for given in inputs]
        return [wrong if is_bad else one for one, is_bad in zip(found, bad, strict=True)]

    assert checks(tried(RIGHT, run=later)) == {"unsteady"}


def test_all_fixed_calls_have_a_witness() -> None:
    """The results of all fixed calls are looked at, also where there are more than are asked of all readings."""
    calls = recorded(20, 20)
    assert tried(RIGHT, calls=calls).verdict is Verdict.PASSES
    late = with_lines("if float(amount) >= 15315:", "    count = count + 1")
    done = tried(late, calls=calls)
    assert checks(done) == {"unwitnessed"}


def test_another_message_is_another_failure() -> None:
    """A call that fails in both versions is changed if what callers read of it is."""
    old = OLD.replace("    return", "    if count == 5: raise LookupError('no such count; use 1 to 4')\n    return")
    new = old.replace("    if", f"    {FIX}\n    if")
    calls = (*recorded(), Call("u", {"amount": "7", "count": 5}, False, signature="LookupError"))
    assert "changed" not in checks(tried(new, old=old, calls=calls))
    assert "changed" in checks(tried(new.replace("no such count; use 1 to 4", ""), old=old, calls=calls))
    numbered = new.replace("use 1 to 4", "use 1 to 40")  # a message's variable part
    assert "changed" not in checks(tried(numbered, old=old, calls=calls))


def slow(seconds: dict[str, float]) -> Any:
    """A run in which the candidate takes so long with these amounts."""

    def run(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        found = in_process(source, name, inputs, limits)
        is_new = source == RIGHT.encode()
        return [
            replace(one, duration_ms=1000 * seconds.get(given["amount"], 0.001) if is_new else 1.0)
            for one, given in zip(found, inputs, strict=True)
        ]

    return run


@pytest.mark.parametrize("amount", ["3", "4,304"])
def test_a_single_call_that_takes_long(amount: str) -> None:
    """One call that takes far longer is told, also if it was fixed, and all others are as fast as before."""
    assert checks(tried(RIGHT, run=slow({amount: 4.0}))) == {"slower"}
    assert tried(RIGHT, run=slow({amount: 0.3})).verdict is Verdict.PASSES


# --- what JSON does not show -----------------------------------------------------------------------------------------


class Lying(dict[str, Any]):
    """Looks right as JSON, and is not."""

    def __getitem__(self, key: str) -> Any:
        return 0


def answered(function: Any, given: dict[str, Any]) -> tuple[list[Any], Any]:
    """What the child says of one call: what JSON does not show, and the result."""
    kind, seen, said = (
        Runner(Found(function, None), "tool.py", 10_000).answer(json.dumps(given).encode()).split(b" ", 2)
    )
    assert kind == b"returned"
    return json.loads(seen), json.loads(said)


def test_the_child_says_what_json_does_not_show() -> None:
    """Classes that JSON does not know are named, also a generator, and so is an input that was changed."""
    assert answered(lambda x: {"a": [x, 1.5, None, True]}, {"x": "b"}) == ([[], False], {"a": ["b", 1.5, None, True]})
    assert answered(lambda x: Lying(a=x), {"x": 1}) == ([["Lying"], False], {"a": 1})
    assert answered(lambda x: (each for each in [(x,)]), {"x": 1}) == ([["generator", "tuple"], False], [[1]])
    assert answered(lambda x: x.pop(), {"x": [1, 2]}) == ([[], True], 2)
    assert answered(lambda x: type("of two words", (dict,), {})(), {"x": 1}) == ([["of_two_words"], False], {})


@pytest.mark.parametrize(("seen", "check"), [({"kinds": ("Lying",)}, "classes"), ({"changed_input": True}, "inputs")])
def test_what_json_does_not_show_is_left_to_a_person(seen: dict[str, Any], check: str) -> None:
    """Results that are the same as JSON only, and inputs that are changed for their callers, do not pass."""

    def run(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        found = in_process(source, name, inputs, limits)
        return [replace(one, **seen) if source == RIGHT.encode() else one for one in found]

    assert checks(tried(RIGHT, run=run)) == {check}
    assert tried(RIGHT, run=lambda *given: [replace(one, **seen) for one in in_process(*given)]).reasons == ()
