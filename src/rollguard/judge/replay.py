"""Reproduce a decision from its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.judge.arms import Arms
from rollguard.judge.baseline import LeftOut
from rollguard.judge.confirmation import Confirmation
from rollguard.judge.confounders import Confounders
from rollguard.judge.creeping import EarlierVersions
from rollguard.judge.hangs import Hangs
from rollguard.judge.rules import Rules
from rollguard.judge.triggers import Outcome
from rollguard.judge.verdict import REPLAYED_VERSIONS, Judgement, judge_recorded
from rollguard.judge.windows import Window

_DECIDED = ("verdict", "rollback_type", "needs_rollback", "log_e", "reasons")


def replay(record: Mapping[str, Any], rules: Rules | None = None) -> Judgement:
    """Judge a decision record again, by the version of the rule that wrote it.

    Args:
        record: as `Judgement.record` returned it.
        rules: judge by these rules instead of the recorded ones, to see what they would have decided.

    Raises:
        InvalidInput: the record cannot be read, or this Rollguard does not have its version of the rule.
    """
    version = record.get("rule_version")
    if version not in REPLAYED_VERSIONS:
        known = ", ".join(map(str, REPLAYED_VERSIONS))
        raise InvalidInput(
            f"the decision was made by version {version} of the rule and this Rollguard has versions {known}; "
            "to make it again use the Rollguard that made it"
        )
    try:
        left_out, creeping = record.get("left_out"), record.get("creeping")
        arms, confirmation = record.get("concurrent"), record.get("confirmation")
        confounders, hangs = record.get("surroundings"), record.get("hangs")  # the keys of stored records
        return judge_recorded(
            Window.from_dict(record["baseline"]),
            Window.from_dict(record["current"]),
            rules or Rules(**record["rules"]),
            scheduled=record["scheduled"],
            outcomes=[Outcome.from_list(outcome) for outcome in record.get("outcomes", ())],
            confounders=None if confounders is None else Confounders.from_dict(confounders),
            left_out=None if left_out is None else LeftOut.from_dict(left_out),
            earlier=None if creeping is None else EarlierVersions.from_dict(creeping),
            hangs=None if hangs is None else Hangs.from_dict(hangs),
            arms=None if arms is None else Arms.from_dict(arms),
            confirmation=None if confirmation is None else Confirmation.from_dict(confirmation),
            rule_version=version,
        )
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the decision's record cannot be read: {error!r}") from error


def differences(record: Mapping[str, Any], again: Judgement) -> list[str]:
    """Return the differences between a replayed decision and its record, as sentences; empty if there are none.

    The comparison is bit for bit. Version 2 of the rule computed its bounds differently, so its log_e is compared to
    1e-9.
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
        record.get("rule_version") == 2
        and isinstance(recorded, float)
        and math.isclose(recorded, made["log_e"], rel_tol=1e-9, abs_tol=1e-9)
    )
