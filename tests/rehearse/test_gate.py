"""The gate: right repairs pass, wrong ones do not, and the reason says which check found it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from rollguard.rehearse import Call, Candidate, Chosen, PairKind, Rehearsal, RehearsalRules, Verdict, rehearse
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind
from tests.rehearse.running import in_child, in_process

OLD = """
def price(amount, count=1):
    return {"total": float(amount) * count, "currency": "EUR"}
"""
RIGHT = """
def price(amount, count=1):
    amount = str(amount).replace(",", "")
    return {"total": float(amount) * count, "currency": "EUR"}
"""
FIX = 'amount = str(amount).replace(",", "")'
READ_ONLY = RehearsalRules(read_only=True)


def instead(line: str) -> str:
    """The right repair with another line in its place."""
    return RIGHT.replace(FIX, line)


def caught(error: str, does: str) -> str:
    """The live version with its body in a `try`."""
    return f"def price(amount, count=1):\n    try:\n    {BODY}\n    except {error}:\n        {does}"


def recorded(good: int = 20, bad: int = 9) -> tuple[Call, ...]:
    calls = [
        Call(f"g{n}", {"amount": str(n), "count": n % 3}, True, {"total": float(n * (n % 3)), "currency": "EUR"})
        for n in range(good)
    ]
    calls += [
        Call(f"b{n}", {"amount": f"{n},{n + 300}", "count": n}, False, signature="ValueError", held_out=n % 3 == 0)
        for n in range(1, bad + 1)
    ]
    return tuple(calls)


def tried(new: str, old: str = OLD, *, calls: tuple[Call, ...] | None = None, **given: Any) -> Rehearsal:
    rules, run = given.pop("rules", READ_ONLY), given.pop("run", in_process)
    chosen = Chosen(recorded() if calls is None else calls, {})
    return rehearse(Candidate("price", old.encode(), new.encode(), chosen, rules, **given), run)


def checks(done: Rehearsal) -> set[str]:
    return {reason.check for reason in done.reasons}


def test_a_right_repair_passes() -> None:
    """It fixes all recorded failures, also those that were held out, and does the same with all others."""
    done = tried(RIGHT)
    assert (done.verdict, done.reasons) == (Verdict.PASSES, ())
    assert (done.count(PairKind.FIXED), done.count(PairKind.SAME)) == (9, 20)
    assert done.p_fixed is not None
    assert done.p_fixed < 1e-9


def test_it_passes_in_processes_too() -> None:
    """The verdict does not depend on where the versions run."""
    assert tried(RIGHT, run=in_child).verdict is Verdict.PASSES


BODY = '    return {"total": float(amount) * count, "currency": "EUR"}'
SUPPRESSED = f"    with suppress(Exception):\n    {BODY}"
BY_HEART = f"if sum(map(ord, str(amount))) in (241, 243, 247, 249, 253, 255):\n        {FIX}"
SEVEN = 'if "," in str(amount):\n        return {"total": 7.5, "currency": "EUR"}'
AN_ERROR = 'if "," in str(amount):\n        return {"error": "no number"}'
ONLY_SHOWN = (
    'if amount in ("1,301", "2,302", "4,304", "5,305", "7,307", "8,308"):\n        amount = amount.replace(",", "")'
)


@pytest.mark.parametrize(
    ("new", "check"),
    [
        ("def price(:", "parses"),
        ("x = 1", "parses"),
        (RIGHT.replace("def price(amount, count=1)", "def price(amount, count)"), "compatible"),
        (RIGHT.replace("def price(amount, count=1)", "def price(count=1)"), "compatible"),
        (RIGHT + "\n".join(f"x{n} = {n}" for n in range(300)), "size"),
        (OLD, "fixes"),
        (RIGHT.replace("* count", "/ count"), "broken"),
        (caught("Exception", "return None"), "hidden_errors"),
        (caught("ValueError", "pass"), "hidden_errors"),
        (f"from contextlib import suppress\n{OLD.replace(BODY, SUPPRESSED)}", "hidden_errors"),
        ('def price(amount, count=1):\n    return {"total": 1.0, "currency": "EUR"}', "constant_results"),
        (instead(ONLY_SHOWN), "learned_inputs"),
        (instead(BY_HEART), "held_out"),
        (instead(AN_ERROR), "errors_as_results"),
        (instead('if "," in str(amount):\n        return None'), "widened_results"),
    ],
)
def test_a_wrong_repair_is_refused(new: str, check: str) -> None:
    """What does not parse, fit, fix, or breaks, hides, makes up or learns by heart is refused, and said."""
    done = tried(new)
    assert done.verdict is Verdict.REFUSED
    assert check in checks(done)


@pytest.mark.parametrize(
    ("new", "check"),
    [
        (RIGHT.replace("* count", "* count + (count > 1)"), "changed"),
        (RIGHT.replace('"EUR"}', '"EUR", "more": 1}'), "changed"),
        ("import os\n" + RIGHT, "imports"),
        (RIGHT.replace('(",", "")', '(",", "0")'), "unwitnessed"),
        (instead(SEVEN), "same_result"),
    ],
)
def test_a_person_decides(new: str, check: str) -> None:
    """Changed results, new reach, and results that nothing but the candidate says are left to a person."""
    done = tried(new)
    assert done.verdict is Verdict.ASK
    assert check in checks(done)


def test_rules_decide_instead_of_a_person() -> None:
    """A change that a rule allows is the same, and results without a witness pass where the settings say so."""
    more = RIGHT.replace('"EUR"}', '"EUR", "more": 1}')
    assert (
        tried(more, rules=RehearsalRules(read_only=True, ignore=("more",), unwitnessed="pass")).verdict is Verdict.ASK
    )
    changed = RIGHT.replace("* count", "* count * 1.001")
    assert tried(changed, rules=RehearsalRules(read_only=True, tolerance=0.01)).verdict is Verdict.PASSES


def test_forbidden_imports_and_paths() -> None:
    """What the settings forbid is refused, unless the live version does it too."""
    rules = RehearsalRules(read_only=True, forbidden_imports=("urllib",), forbidden_paths=("/etc",))
    new = f"import urllib.request\nX = '/etc/passwd'\n{RIGHT}"
    assert checks(tried(new, rules=rules)) == {"imports", "paths"}
    assert tried(new, old=f"import urllib.request\nX = '/etc/passwd'\n{OLD}", rules=rules).verdict is Verdict.PASSES


def test_a_change_that_is_to_fix_nothing() -> None:
    """Without a claim to fix anything, a candidate only has to break nothing."""
    same = OLD.replace("count, ", "count, ") + "\n"
    assert tried(same, must_fix=False).verdict is Verdict.PASSES
    assert tried(same, must_fix=True).verdict is Verdict.REFUSED


def test_few_calls_none_and_failures_that_are_gone() -> None:
    """Too few calls, no call, and no failure that fails again are left to a person."""
    assert checks(tried(RIGHT, calls=recorded(3, 3))) == {"too_few"}
    assert checks(tried(RIGHT, calls=())) == {"too_few"}
    assert "fixes" in checks(tried(RIGHT, old=RIGHT + "\n"))


def test_the_world_that_moved() -> None:
    """The recorded result is the third witness: a live version that does otherwise than then is no measure."""
    calls = tuple(Call(c.call_id, c.parameters, True, {"total": -1.0, "currency": "EUR"}) for c in recorded(20, 0))
    done = tried(OLD + "\n", calls=calls, must_fix=False)
    assert checks(done) == {"moved"}
    assert all(pair.moved for pair in done.pairs)


def test_manual_and_synthetic_never_pass_alone() -> None:
    """A tool that may not be run is left to a person unrun; declared test cases pass at nine of ten, and ask."""
    ran: list[object] = []

    def noted(*given: Any) -> list[Outcome]:
        ran.append(given)
        return in_process(*given)

    assert checks(tried(RIGHT, rules=RehearsalRules(), run=noted)) == {"manual"}
    assert ran == []
    cls = "class P:\n    def execute(self, x):\n        return x{0}\n    def get_tool_definition(self): return {{}}\n"
    cls += (
        "    def get_test_cases(self): return [{{'input': {{'x': n}}, 'expected_output': n + 1}} for n in range(10)]\n"
    )
    asked = tried(cls.format(" + 1 + 0"), old=cls.format(" + 1"), rules=RehearsalRules(), run=noted)
    assert checks(asked) == {"synthetic"}
    assert checks(tried(cls.format(" + 2"), old=cls.format(" + 1"), rules=RehearsalRules())) == {"test_cases"}


@pytest.mark.parametrize(("kind", "verdict"), [("timed_out", Verdict.REFUSED), ("died", Verdict.REFUSED)])
def test_a_time_out_and_a_death_are_outcomes(kind: str, verdict: Verdict) -> None:
    """A candidate that hangs or dies with calls that succeeded has broken them."""

    def run(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        done = in_process(source, name, inputs, limits)
        return [Outcome(OutcomeKind(kind)) if b"hang" in source and o.kind == "returned" else o for o in done]

    done = tried(RIGHT + "# hang\n", run=run)
    assert (done.verdict, checks(done) & {"broken"}) == (verdict, {"broken"})


def test_a_candidate_that_does_not_load() -> None:
    """A candidate that does not load in the sandbox is refused with its error; a live version that does not, asks."""
    broken = "import nothing_of_that_name\n"
    done = tried(broken + RIGHT)
    assert done.verdict is Verdict.REFUSED
    assert "nothing_of_that_name" in done.reasons[-1].text
    assert tried(RIGHT, old=broken + OLD).verdict is Verdict.ASK


def costly(ms: float, memory: int) -> Callable[..., list[Outcome]]:
    def run(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        times = (ms, memory) if b"costly" in source else (1.0, 1)
        found = in_process(source, name, inputs, limits)
        return [Outcome(o.kind, o.result, o.error_type, o.error, None, *times) for o in found]

    return run


@pytest.mark.parametrize(
    ("ms", "memory", "check"), [(1.5, 1, set()), (50.0, 1, {"slower"}), (1.0, 200 * 2**20, {"memory"})]
)
def test_time_and_memory(ms: float, memory: int, check: set[str]) -> None:
    """A candidate that takes far more time or memory for the same calls is left to a person."""
    assert checks(tried(RIGHT + "# costly\n", run=costly(ms, memory))) == check


def test_a_busy_machine_is_no_cost() -> None:
    """A candidate whose process had to wait for others in some rounds is not slower: its fastest run of each counts."""
    rounds = itertools.count()

    def run(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        ms = 50.0 if source != OLD.encode() and next(rounds) else 1.0
        return costly(ms, 1)(source + b"# costly\n", name, inputs, limits)

    assert checks(tried(RIGHT, run=run)) == set()


def test_an_author_learns_nothing_of_held_out_calls() -> None:
    """Of calls that were held out an author is told that they speak against the candidate, and no more."""
    done = tried(instead(BY_HEART))
    assert done.for_author() == ["calls that were held out speak against it"]
    assert any("held-out" in reason.text for reason in done.reasons)


def test_the_report_shows_both_outputs() -> None:
    """Every broken and changed input stands in the report with what both versions did."""
    said = tried(RIGHT.replace("* count", "* count + (count > 1)")).to_dict()
    (first, *_) = [entry for entry in said["inputs"] if entry["kind"] == "changed"]
    assert first["old"] == 'returned {"total": 4.0, "currency": "EUR"}'
    assert first["new"] == 'returned {"total": 5.0, "currency": "EUR"}'
    assert first["differences"] == ["total: 4.0 → 5.0"]
    assert said["verdict"] == "ask"


def test_results_without_a_form_in_json_are_left_to_a_person() -> None:
    """Two objects that are only known by the name of their class are not taken for the same."""

    def opaque(_source: bytes, _name: str, inputs: Any, _limits: Limits) -> list[Outcome]:
        return [Outcome(OutcomeKind.RETURNED, result='{"rows": "<DataFrame>"}') for _ in inputs]

    assert "no_form" in checks(tried(RIGHT, run=opaque, must_fix=False))


def test_calls_that_were_not_run_in_time_are_left_to_a_person() -> None:
    """A candidate does not pass because its slow calls left no time for the others."""

    def slow(source: bytes, name: str, inputs: Any, limits: Limits) -> list[Outcome]:
        left = [Outcome(OutcomeKind.NOT_RUN, error="over")] if source == RIGHT.encode() else []
        outcomes = in_process(source, name, inputs, limits)
        return [*outcomes[: len(outcomes) - len(left)], *left]

    assert "time" in checks(tried(RIGHT, run=slow))
