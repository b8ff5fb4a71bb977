"""Ending by SIGTERM in order, for programs that ask for it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from rollguard.record.recorder import finish_all


def install_signal_handlers() -> bool:
    """Store what every recorder of this process holds on SIGTERM, then end as the signal would have ended the process.

    Nothing else in Rollguard installs a handler, except the command line. Call it once, in the main thread: Python lets
    no other thread do it. It may be called before or after anything is recorded.

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

    def finish() -> None:
        finish_all()
        os.kill(os.getpid(), number)

    try:  # in a thread: the main one may be interrupted in the middle of just that
        threading.Thread(target=finish, name="rollguard-end").start()
    except RuntimeError:  # no thread can be had
        finish()
