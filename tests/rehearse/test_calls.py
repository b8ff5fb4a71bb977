"""Which recorded calls are run again, which are not and why, and which are held out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollguard.model.execution import Execution
from rollguard.rehearse import choose
from rollguard.rehearse.calls import NO_RESULT
from rollguard.rehearse.declared import not_recorded


def execution(parameters: Any, *, success: bool = True, number: int = 1, **fields: Any) -> Execution:
    text = parameters if parameters is None or isinstance(parameters, str) else json.dumps(parameters)
    return Execution("t", success, execution_id=f"e{number}", parameters=text, **fields)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (execution(None), "were not stored"),
        (execution("[1]"), "not a JSON object"),
        (execution({"truncated": True, "beginning": "{"}), "were cut"),
        (execution({"key": "***", "x": 1}), "were redacted"),
        (execution({"url": "https://me:***@host"}), "were redacted"),
        (execution({"redaction_failed": "KeyError"}), "were redacted"),
        (execution({"x": "<Connection>"}), "no form in JSON"),
        (execution({"y": 1}), "a framework gives it"),
        (execution({"x": 1}, success=False, error_type="CallWithdrawn"), "given up"),
    ],
)
def test_an_unfit_call_is_counted_with_its_reason(given: Execution, reason: str) -> None:
    """A call that cannot be run again is never guessed: it is left out, counted, and the reason said."""
    chosen = choose([given], required=["x"])
    assert chosen.calls == ()
    ((said, count),) = chosen.unfit.items()
    assert reason in said
    assert count == 1


def test_a_parameter_that_is_never_recorded_is_not_guessed() -> None:
    """A tool whose `@tool` leaves a parameter out is not run again with its default: what callers gave is unknown."""
    source = b"from rollguard import tool\n@tool(%s)\ndef price(amount, region='eu'): return amount\n"
    for says in (b"skip=['region']", b"record=['amount']"):
        assert not_recorded(source % says, "price") == ["region"]
    failed = execution({"amount": None}, success=False, error_type="TypeError")
    assert choose([failed], unknown=["region"]).unfit == {"a parameter was not recorded: `@tool` leaves out region": 1}


def test_a_call_that_failed_for_a_missing_argument_is_run_again() -> None:
    """A parameter that is missing may be what failed; then no framework would have given it."""
    (call,) = choose([execution({}, success=False, error_type="TypeError", error="missing x")], required=["x"]).calls
    assert call.signature == "TypeError: missing x"


def test_a_result_that_was_cut_is_unknown() -> None:
    """A cut or redacted result is no witness, but the call is run again."""
    cut = json.dumps({"truncated": True, "beginning": "{"})
    (call,) = choose([execution({"x": 1}, result=cut)]).calls
    assert call.result is NO_RESULT


def test_each_input_once_and_each_kind_of_failure() -> None:
    """Equal inputs are run once, failures take at most half, and each kind of failure is among the first."""
    calls = [execution({"x": n % 30}, number=n) for n in range(60)]
    calls += [execution({"y": n}, success=False, number=100 + n, error_type="KeyError") for n in range(40)]
    calls += [execution({"z": 1}, success=False, number=999, error_type="OSError")]
    chosen = choose(calls, limit=20)
    assert len(chosen.calls) == 20
    assert chosen.repeated == 30
    assert sum(not call.success for call in chosen.calls) == 10
    assert {call.signature for call in chosen.calls} >= {"KeyError", "OSError"}


def test_held_out_calls_are_the_same_at_each_try_and_others_in_another_draw() -> None:
    """Three of ten calls are held out by their inputs alone, of the failures and of the successes."""
    calls = [execution({"x": n}, success=n % 2 == 0, number=n) for n in range(40)]

    def held_out(draw: int, some: list[Execution]) -> set[int]:
        return {call.parameters["x"] for call in choose(some, limit=40, draw=draw).calls if call.held_out}

    first = held_out(0, calls)
    assert first == held_out(0, calls[::-1])
    assert first != held_out(1, calls)
    assert sum(n % 2 for n in first) == 6
    assert len(first) == 12
