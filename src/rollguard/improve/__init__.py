"""Have repairs written: tell improvers what fails and why, and take what they propose. Nothing here deploys.

`briefing` makes a `Brief` from an investigation and the calls that are not held out; `brief_text` writes it for people
and models. `command`, `callable`, `model`, `earlier_version` and `retry` are improvers; `chain` asks them in turn.
`work_folder` and `check` are what a program works in. `brief_text`, `problems`, `secrets`, `transient` and `undo` are
pure.
"""

from rollguard.improve.brief import Attempt, Brief, Case, Recovered
from rollguard.improve.briefing import Briefer, brief_for
from rollguard.improve.callable import CallableImprover
from rollguard.improve.chain import Answer, Asked, Improvers, Outcome
from rollguard.improve.command import CommandImprover
from rollguard.improve.earlier_version import EarlierVersion
from rollguard.improve.model import ModelImprover
from rollguard.improve.proposal import Improver, Proposal
from rollguard.improve.retry import RetryTransient
from rollguard.improve.work_folder import CheckRules

__all__ = [
    "Answer",
    "Asked",
    "Attempt",
    "Brief",
    "Briefer",
    "CallableImprover",
    "Case",
    "CheckRules",
    "CommandImprover",
    "EarlierVersion",
    "Improver",
    "Improvers",
    "ModelImprover",
    "Outcome",
    "Proposal",
    "Recovered",
    "RetryTransient",
    "brief_for",
]
