"""Rollouts: a new version serves beside the old one, at a share of the calls that rises in stages.

`ramp` is the state machine: when a stage advances, freezes or ends. The draw itself is `rollguard.model.split`, because
what serves a call is below this package.
"""

from rollguard.rollout.ramp import Plan, Ramp, Signs, State

__all__ = ["Plan", "Ramp", "Signs", "State"]
