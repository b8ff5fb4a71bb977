"""Handle SIGTERM without losing executions, for programs that ask for it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from rollguard.record.call_marks import remove_all
from rollguard.record.endings import process_is_ending
from rollguard.record.process_end import finish_all


def install_signal_handlers() -> bool:
    """On SIGTERM, store what every recorder of this process holds, then end the process as the signal would.

    Apart from this function, only the command line installs handlers. Call it once, in the main thread: Python allows
    no other. You may call it before or after calls are recorded.

    Returns:
        False if the program handles SIGTERM itself or this is not the main thread; nothing is changed then.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    try:
        signal.signal(signal.SIGTERM, _end)
    except ValueError:  # not the main thread of the main interpreter
        return False
    return True


def _end(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)

    process_is_ending()

    def finish() -> None:
        remove_all()
        finish_all()
        os.kill(os.getpid(), number)

    try:  # in a thread, because the signal may have interrupted the same work in the main one
        threading.Thread(target=finish, name="rollguard-end").start()
    except RuntimeError:  # no thread can be started
        finish()
