"""`CallableImprover`: a function of yours that writes repairs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rollguard.errors import ImproverFailed
from rollguard.improve.brief import Brief
from rollguard.improve.in_time import InTime
from rollguard.improve.proposal import Proposal

Answer = Proposal | str | bytes | None


class CallableImprover:
    """Calls a function with the brief. It returns a `Proposal`, the source alone, or None if it has none.

    Args:
        function: called in a thread of its own.
        name: names it in versions and reports.
        timeout: seconds that it may take; a late answer is dropped.
    """

    def __init__(self, function: Callable[[Brief], Answer], *, name: str = "callable", timeout: float = 900.0) -> None:
        self.name, self._function = name, function
        self._in_time: InTime[Answer] = InTime(timeout)

    def propose(self, brief: Brief) -> Proposal | None:
        """Return what the function proposes.

        Raises:
            ImproverFailed: it took too long, or returned something else. What it raises itself is raised, too.
        """
        began = time.monotonic()
        answer = self._in_time.call(lambda: self._function(brief))
        seconds = time.monotonic() - began
        if answer is None:
            return None
        if isinstance(answer, Proposal):
            return answer if answer.seconds else replace(answer, seconds=seconds)
        if not isinstance(answer, str | bytes):
            kind = type(answer).__name__
            raise ImproverFailed(f"it returned {kind}, and neither a Proposal nor a source nor None")
        source = answer.encode("utf-8", "surrogatepass") if isinstance(answer, str) else answer
        reason = f"{self.name} changed it for: {brief.causes[0]['text']}"
        return Proposal(source, self.name, reason, prompt_sha256=brief.sha256, seconds=seconds)
