"""Judging a deployment: counts and rules in, a verdict with reasons out. Pure: no clock, no I/O, no database.

The order of the modules is the order of the data: `windows` → `comparison` and `evidence` → `verdict`.
"""

from rollguard.judge.comparison import Comparison, Severity, as_float, compare, grade
from rollguard.judge.evidence import Evidence
from rollguard.judge.rules import Rules
from rollguard.judge.verdict import Judgement, Verdict, judge
from rollguard.judge.windows import Window

__all__ = [
    "Comparison",
    "Evidence",
    "Judgement",
    "Rules",
    "Severity",
    "Verdict",
    "Window",
    "as_float",
    "compare",
    "grade",
    "judge",
]
