"""Rehearse a candidate before it goes live: on recorded calls, beside the live version, in the sandbox.

`declared` and `rules` say what a tool is; `calls` chooses recorded calls; `runs` runs both versions; `noise`, `compare`
and `pairs` tell what differs; `source_checks`, `gaming`, `pair_checks` and `witness` find reasons against a candidate;
`gate` puts them in order. `rehearser` is the way from a store to the gate.
"""

from rollguard.rehearse.calls import Call, Chosen, choose
from rollguard.rehearse.declared import Characteristics, Strategy, declared, strategy_of
from rollguard.rehearse.gate import Candidate, rehearse
from rollguard.rehearse.pairs import Pair, PairKind
from rollguard.rehearse.reason import Reason, Weight
from rollguard.rehearse.rehearsal import Rehearsal, Verdict
from rollguard.rehearse.rehearser import Rehearser
from rollguard.rehearse.replay_tester import ReplayTester
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Run
from rollguard.rehearse.shadow_tester import ShadowTester

__all__ = [
    "Call",
    "Candidate",
    "Characteristics",
    "Chosen",
    "Pair",
    "PairKind",
    "Reason",
    "Rehearsal",
    "RehearsalRules",
    "Rehearser",
    "ReplayTester",
    "Run",
    "ShadowTester",
    "Strategy",
    "Verdict",
    "Weight",
    "choose",
    "declared",
    "rehearse",
    "strategy_of",
]
