"""Rollouts: a new version serves beside the old one, at a share of the calls that rises in stages.

`rollguard.model.ramp` is the state machine: when a stage advances, freezes or ends; `rollguard.model.split` draws.
"""

from rollguard.model.ramp import Plan, Ramp, Signs, State
from rollguard.rollout.steps import RolloutSteps

__all__ = ["Plan", "Ramp", "RolloutSteps", "Signs", "State"]
