"""Improve tools: find a weak one, have a repair written, rehearse it, get it approved, deploy it, and watch it.

Each step is a stage of its own with a name and `run(now)`. Between the stages there is only the table
`improvement_attempts`: its state machine is `rollguard.model.attempt`.
"""

from __future__ import annotations

from rollguard.loop.improvement.approvals import POLICY, Approvals
from rollguard.loop.improvement.approving import ApproveStage
from rollguard.loop.improvement.deploying import DeployStage
from rollguard.loop.improvement.find import FindStage, Planned, plan
from rollguard.loop.improvement.improving import ImproveStage
from rollguard.loop.improvement.investigating import InvestigateStage
from rollguard.loop.improvement.rehearsing import RehearseStage
from rollguard.loop.improvement.watching import WatchStage
from rollguard.loop.improvement.work import AttemptStage, Improvement
from rollguard.loop.stages import Stage

__all__ = [
    "POLICY",
    "Approvals",
    "ApproveStage",
    "AttemptStage",
    "DeployStage",
    "FindStage",
    "ImproveStage",
    "Improvement",
    "InvestigateStage",
    "Planned",
    "RehearseStage",
    "WatchStage",
    "improvement_stages",
    "plan",
]


def improvement_stages(parts: Improvement) -> list[Stage]:
    """Return the stages of an improvement, in their order. `watch` is first, so that what ended makes place."""
    return [
        WatchStage(parts),
        FindStage(parts),
        InvestigateStage(parts),
        ImproveStage(parts),
        RehearseStage(parts),
        ApproveStage(parts),
        DeployStage(parts),
    ]
