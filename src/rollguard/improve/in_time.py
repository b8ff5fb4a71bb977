"""Call a function in a thread of its own and wait for it no longer than it may take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from rollguard.errors import ImproverFailed

T = TypeVar("T")


class InTime(Generic[T]):
    """Calls one function at a time, and waits for it in bounded time.

    A thread cannot be ended: a call that is late goes on, its result is dropped, and until it ends the function is not
    called again. So at most one such thread exists.

    Args:
        seconds: how long a call may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late: threading.Thread | None = None

    def call(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises.

        Raises:
            ImproverFailed: it took too long, or an earlier call is still running.
        """
        if self._late is not None and self._late.is_alive():
            raise ImproverFailed("an earlier call is late and still running; it is not called again until that ends")
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
                errors.append(error)

        thread = threading.Thread(target=run, name="rollguard-improver", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            self._late = thread
            raise ImproverFailed(f"took longer than {self._seconds:g} s")
        for error in errors:
            if isinstance(error, Exception):
                raise error
            raise ImproverFailed(f"ended with {type(error).__name__}") from error  # such as SystemExit: not ours
        return results[0]
