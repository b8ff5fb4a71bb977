"""The whole system, wired from its settings: the only place that builds objects from them."""

from rollguard.app.deployed import Deployed
from rollguard.app.system import Rollguard

__all__ = ["Deployed", "Rollguard"]
