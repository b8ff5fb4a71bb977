"""Judge a deployment: counts and rules in, a verdict with reasons out. Pure: no clock, no I/O, no database.

The data flows through the modules in this order: `windows` → `hangs` → `comparison`, `evidence`, `slowdown`,
`score`, `triggers` and `confounders` → `policy`, the rule → `verdict` → `replay` and `sample_size`. If two versions
serve at once, `arms` counts their units and `concurrent` is the evidence; `confirmation` has both serve first.
"""

from rollguard.judge.arms import Arms, ArmsFound, Unit
from rollguard.judge.baseline import LeftOut
from rollguard.judge.change_point import change_point
from rollguard.judge.comparison import Comparison, Severity, as_float, compare, grade
from rollguard.judge.concurrent import ConcurrentEvidence, NotWorse, Stage
from rollguard.judge.confirmation import Confirmation, Stand, fails_alone
from rollguard.judge.confounders import (
    Confounder,
    Confounders,
    confounder_baseline,
    is_over,
    largest_excess,
    widened_interval,
    worst_interval,
)
from rollguard.judge.creeping import Creeping, EarlierVersions, creeping
from rollguard.judge.evidence import Evidence
from rollguard.judge.hangs import CONTROL_FLOW, GIVEN_UP, NEWER, TIMED_OUT, UNCOUNTED, UNJUDGED, WITHDRAWN, Hangs
from rollguard.judge.policy import Counts, RollbackType, may_act
from rollguard.judge.replay import differences, replay
from rollguard.judge.rules import Rules
from rollguard.judge.sample_size import executions_needed
from rollguard.judge.score import Scores, score_bucket
from rollguard.judge.slowdown import Slowdown, slowdown
from rollguard.judge.triggers import MOST_OUTCOMES, PATTERN, Outcome, Trigger, trigger_in
from rollguard.judge.verdict import RULE_VERSION, Judgement, Verdict, judge
from rollguard.judge.windows import Window

__all__ = [
    "CONTROL_FLOW",
    "GIVEN_UP",
    "MOST_OUTCOMES",
    "NEWER",
    "PATTERN",
    "RULE_VERSION",
    "TIMED_OUT",
    "UNCOUNTED",
    "UNJUDGED",
    "WITHDRAWN",
    "Arms",
    "ArmsFound",
    "Comparison",
    "ConcurrentEvidence",
    "Confirmation",
    "Confounder",
    "Confounders",
    "Counts",
    "Creeping",
    "EarlierVersions",
    "Evidence",
    "Hangs",
    "Judgement",
    "LeftOut",
    "NotWorse",
    "Outcome",
    "RollbackType",
    "Rules",
    "Scores",
    "Severity",
    "Slowdown",
    "Stage",
    "Stand",
    "Trigger",
    "Unit",
    "Verdict",
    "Window",
    "as_float",
    "change_point",
    "compare",
    "confounder_baseline",
    "creeping",
    "differences",
    "executions_needed",
    "fails_alone",
    "grade",
    "is_over",
    "judge",
    "largest_excess",
    "may_act",
    "replay",
    "score_bucket",
    "slowdown",
    "trigger_in",
    "widened_interval",
    "worst_interval",
]
