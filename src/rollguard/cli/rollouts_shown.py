"""Rollouts as people see them: the stage, both versions' counts, and both kinds of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollguard.cli.table import Table
from rollguard.judge import ArmsFound, reasons
from rollguard.model.confirming import ALONE
from rollguard.model.formatting import percent
from rollguard.model.rollout import CONFIRM, Rollout
from rollguard.store import ExecutionStore

_COLUMNS = ("Rollout>", "Tool", "Versions", "State", "Stage", "Share>", "New failed>", "Old failed>", "Evidence>")


def rollouts_table(store: ExecutionStore, rollouts: Sequence[Rollout]) -> Table:
    """Return a table of open rollouts."""
    return Table(_COLUMNS, [_row(rollout, _found(store, rollout)) for rollout in rollouts])


def about(store: ExecutionStore, rollout: Rollout, check: dict[str, Any] | None) -> list[str]:
    """Return sentences on a rollout.

    Args:
        check: the latest check of its session.
    """
    ramp = rollout.ramp
    lines = [f"version {rollout.new_version} beside version {rollout.old_version}, {_plan(rollout)}"]
    if rollout.open:
        lines.append(f"{_stage(rollout)}, {ramp.state}: its share is {percent(ramp.share)}")
    else:
        lines.append(f"{ramp.state} by {rollout.ended_by}: {rollout.ended_why}")
    found = _found(store, rollout)
    if found is None:
        lines.append("no call of either version is counted yet")
    elif rollout.open or not reasons.is_beside(rollout.ended_why or ""):
        lines.append(reasons.beside(found))
    record = None if check is None else check.get("record")
    if isinstance(record, dict) and found is not None:
        lines.append(f"since the deployment and before: {reasons.evidence(record['log_e'], found.required)}")
    return lines


def as_json(store: ExecutionStore, rollout: Rollout) -> dict[str, Any]:
    """Return a rollout with the evidence from both versions."""
    found = _found(store, rollout)
    names = ("alpha", "log_e", "required", "present", "suspected")
    evidence = None if found is None else {name: getattr(found, name) for name in names}
    return {**rollout.to_dict(), "evidence": evidence}


def _found(store: ExecutionStore, rollout: Rollout) -> ArmsFound | None:
    if rollout.arms is None:
        return None
    rules = store.sessions.get(rollout.session_id).rules
    return ArmsFound.of(rollout.arms, rules.alpha_of_each(rollout=not rollout.arms.confirms))


def _plan(rollout: Rollout) -> str:
    if rollout.kind == CONFIRM:
        return "to confirm what the evidence before and after says"
    return f"in stages of {', '.join(percent(share) for share in rollout.ramp.plan.shares)}"


def _stage(rollout: Rollout) -> str:
    if rollout.kind == CONFIRM:
        return "the old version alone" if rollout.ramp.stage == ALONE else "both versions"
    return f"stage {rollout.ramp.stage + 1} of {len(rollout.ramp.plan.shares)}"


def _row(rollout: Rollout, found: ArmsFound | None) -> tuple[object, ...]:
    ramp, total = rollout.ramp, None if found is None else found.arms.total
    return (
        rollout.rollout_id,
        rollout.tool_name,
        f"{rollout.new_version} beside {rollout.old_version}",
        str(ramp.state),
        "confirm" if rollout.kind == CONFIRM else f"{ramp.stage + 1} of {len(ramp.plan.shares)}",
        percent(ramp.share),
        None if total is None else f"{total.new_failures} of {total.new_units}",
        None if total is None else f"{total.old_failures} of {total.old_units}",
        None if found is None else reasons.e_value(found.log_e),
    )
