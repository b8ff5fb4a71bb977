"""The rules: what is refused is named with what is allowed, and what is kept reads back as it was."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from rollguard.errors import InvalidSetting
from rollguard.judge import Rules

OTHERS = {
    "monitoring_window_hours": 48,
    "regression_threshold": 1,
    "delta": 0,
    "decision": "evidence",
    "hold_on_external": False,
    "caller_errors": ["ValidationError", "KeyError", "ValidationError"],
    "collapse_retries": 3,
    "baseline": "same_hours",
}


@pytest.mark.parametrize("rules", [Rules(), Rules(**OTHERS)], ids=["defaults", "others"])
def test_rules_read_back(rules: Rules) -> None:
    """Rules that were kept as JSON, or went to another process, are the same rules."""
    for again in (Rules(**json.loads(json.dumps(rules.to_dict()))), pickle.loads(pickle.dumps(rules))):
        assert again == rules
        assert hash(again) == hash(rules)
        assert json.dumps(again.to_dict()) == json.dumps(rules.to_dict())


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("min_executions", True, "True is not a whole number of executions from 1 to 1000000"),
        ("min_executions", 2.0, "2.0 is not a whole number of executions from 1 to 1000000"),
        ("alpha", 0.5, "0.5 is not a number above 0 and below 0.5"),
        ("alpha", float("nan"), "nan is not a number above 0 and below 0.5"),
        ("delta", "0", "'0' is not a number at least 0 and below 1"),
        ("decision", ["evidence"], """['evidence'] is not one of "threshold", "evidence\""""),
        ("rollback_on_slowdown", None, "None is neither true nor false"),
        ("hold_on_external", 1, "1 is neither true nor false"),
        ("caller_errors", "KeyError", """'KeyError' is not a list of error types, as ["ValidationError"]"""),
        ("caller_errors", [""], """[''] is not a list of error types, as ["ValidationError"]"""),
    ],
)
def test_a_refusal_names_key_value_and_range(key: str, value: Any, problem: str) -> None:
    """A value of the wrong type or outside its range is refused with its key and what is allowed."""
    with pytest.raises(InvalidSetting) as caught:
        Rules(**{key: value})
    assert (caught.value.key, caught.value.problem) == (key, problem)


def test_an_unknown_rule_is_refused() -> None:
    """A key that is none is refused with the known ones, also where its value is None."""
    for value in (1, None):
        with pytest.raises(
            InvalidSetting, match=r"colour: unknown setting; the known ones are monitoring_window_hours, "
        ):
            Rules().with_overrides({"colour": value})
    assert Rules(alpha=0.1).with_overrides({"alpha": None}) == Rules(alpha=0.1)


def test_the_rules_of_a_release_share_alpha() -> None:
    """Each of several changed tools of a release is judged by evidence alone, at alpha/T; one keeps its rules."""
    rules = Rules(fast_triggers="alone", alpha=0.06)
    assert rules.of_release(1) is rules
    of_three = rules.of_release(3)
    assert (of_three.decision, of_three.alpha, of_three.fast_triggers) == ("evidence", 0.02, "with_evidence")
    assert Rules(fast_triggers="off").of_release(2).fast_triggers == "off"
