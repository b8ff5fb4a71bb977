"""Record calls of tools as executions. The caller does not wait, and the database may be away."""

from rollguard.record.delivery import refused_beside
from rollguard.record.recorder import Note, Recorder
from rollguard.record.request import request, request_id
from rollguard.record.signals import install_signal_handlers
from rollguard.record.spool import Spool

__all__ = ["Note", "Recorder", "Spool", "install_signal_handlers", "refused_beside", "request", "request_id"]
