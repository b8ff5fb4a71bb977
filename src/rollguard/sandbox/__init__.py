"""Run a tool's code where it can harm nobody: in a child process with a deadline.

`tool_file` finds the tool in a module; `child` is the program that runs it; `process` starts, bounds and ends the
child; `check` asks it whether a file loads. `tool_file` and `child` import the standard library alone, so that a child
starts within a hundredth of a second.
"""

from rollguard.sandbox.check import DEADLINE, ChildNotStarted, ToolCheck, check_tool

__all__ = ["DEADLINE", "ChildNotStarted", "ToolCheck", "check_tool"]
