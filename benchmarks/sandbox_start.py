"""How long a process of the sandbox takes from its start to the answer of a tool's first input.

Beside it are Python alone (`python -I -c pass`), the child process that only checks whether a file loads, which has no
layers, and a further input to a process that runs already.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Aim, Options, Result, duration, medians, ratio, timed
from rollguard.sandbox import Limits, OutcomeKind, check_tool, layers, run_inputs

LIMIT = 0.1
_CODE = "def add(a, b):\n    return a + b\n"
_MORE = 100
_BARE, _CHECK, _SANDBOX, _NEXT = "python -I -c pass", "check that a file loads", "sandbox, one input", "a further input"
