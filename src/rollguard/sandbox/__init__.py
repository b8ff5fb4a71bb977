"""Run a tool's code where it can harm nobody: in a child process with a deadline, and confined if a machine wrote it.

`tool_file` finds the tool in a module; `child` is the program that runs it; `process` starts, bounds and ends the
child; `check` asks it whether a file loads; `run` asks it what a tool does with inputs, confined by `confine`,
`landlock` and `seccomp`; `layers` tries to break out. What the child imports imports the standard library alone, so
that it starts within a hundredth of a second. `command` runs a program that the settings name, not confined.
"""

from rollguard.sandbox.check import DEADLINE, ChildNotStarted, ToolCheck, check_tool
from rollguard.sandbox.layers import Layer, layers
from rollguard.sandbox.outcome import Frame, Limits, Outcome, OutcomeKind
from rollguard.sandbox.run import Isolation, run_inputs

__all__ = [
    "DEADLINE",
    "ChildNotStarted",
    "Frame",
    "Isolation",
    "Layer",
    "Limits",
    "Outcome",
    "OutcomeKind",
    "ToolCheck",
    "check_tool",
    "layers",
    "run_inputs",
]
