"""Find weak tools and the causes of their failures.

`causes` is the search for what failing calls have in common; with `values`, `predicates` and `significance` it is pure.
"""

from rollguard.investigate.causes import Call, Cause, find_causes
from rollguard.investigate.opportunities import LeftAlone, Opportunity, OpportunityKind, Priority
from rollguard.investigate.weak_tools import find_opportunities

__all__ = [
    "Call",
    "Cause",
    "LeftAlone",
    "Opportunity",
    "OpportunityKind",
    "Priority",
    "find_causes",
    "find_opportunities",
]
