"""Find weak tools and the causes of their failures.

`causes` is the search for what failing calls have in common; with `values`, `predicates`, `significance` and `smallest`
it is pure. `Investigator` reads calls for it, and `intervention` runs a tool where that harms nobody.
"""

from rollguard.investigate.causes import Call, Cause, find_causes
from rollguard.investigate.intervention import Run
from rollguard.investigate.investigator import Investigator, Runner, causes_since_deployment
from rollguard.investigate.opportunities import LeftAlone, Opportunity, OpportunityKind, Priority
from rollguard.investigate.report import Report, in_words
from rollguard.investigate.weak_tools import find_opportunities

__all__ = [
    "Call",
    "Cause",
    "Investigator",
    "LeftAlone",
    "Opportunity",
    "OpportunityKind",
    "Priority",
    "Report",
    "Run",
    "Runner",
    "causes_since_deployment",
    "find_causes",
    "find_opportunities",
    "in_words",
]
