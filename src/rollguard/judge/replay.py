"""Making a decision again from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.judge.confounders import Surroundings
from rollguard.judge.rules import Rules
from rollguard.judge.triggers import Outcome
from rollguard.judge.verdict import REPLAYED_VERSIONS, RULE_VERSION, Judgement, judge_recorded
from rollguard.judge.windows import Window

_DECIDED = ("verdict", "rollback_type", "needs_rollback", "log_e", "reasons")


def replay(record: Mapping[str, Any], rules: Rules | None = None) -> Judgement:
    """Judge again what a decision record holds, as the version of the rule did that made it.

    Args:
        record: as `Judgement.record` made it.
        rules: judge by these instead, to see what they would have decided.

    Raises:
        InvalidInput: the record cannot be read, or was made by a version of the rule that is not known any more.
    """
    version = record.get("rule_version")
    if version not in REPLAYED_VERSIONS:
        known = ", ".join(map(str, REPLAYED_VERSIONS))
        raise InvalidInput(
            f"the decision was made by version {version} of the rule and this Rollguard has versions {known}; "
            "to make it again use the Rollguard that made it"
        )
    try:
        surroundings = record.get("surroundings")
        return judge_recorded(
            Window.from_dict(record["baseline"]),
            Window.from_dict(record["current"]),
            rules or Rules(**record["rules"]),
            scheduled=record["scheduled"],
            outcomes=[Outcome.from_list(outcome) for outcome in record.get("outcomes", ())],
            surroundings=None if surroundings is None else Surroundings.from_dict(surroundings),
            rule_version=version,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the decision's record cannot be read: {error!r}") from error


def differences(record: Mapping[str, Any], again: Judgement) -> list[str]:
    """Where a decision that was made again differs from its record; empty where it does not.

    It is compared bit for bit; of an earlier version of the rule, whose bounds were found by another way, log_e is
    compared to 1e-9.
    """
    made = again.record()
    return [
        f"{name}: recorded {record.get(name)!r}, now {made[name]!r}"
        for name in _DECIDED
        if record.get(name) != made[name] and not (name == "log_e" and _close_enough(record, made))
    ]


def _close_enough(record: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    recorded = record.get("log_e")
    return (
        record.get("rule_version") != RULE_VERSION
        and isinstance(recorded, float)
        and math.isclose(recorded, made["log_e"], rel_tol=1e-9, abs_tol=1e-9)
    )
