"""A call of a tool becomes a stored execution, even while the database is away."""

from rollguard.record.recorder import Recorder
from rollguard.record.spool import Spool

__all__ = ["Recorder", "Spool"]
