"""A small scripted agent: it calls one tool after the other with amounts of invoices, and never stops by itself."""

from __future__ import annotations

import contextlib
import random
import threading

from rollguard import ToolRegistry


class Agent(threading.Thread):
    """Calls a tool in a thread of its own, with amounts in an order by chance that is always the same.

    Attributes:
        tool: the tool that it calls; None rests.
        amounts: what it calls the tool with.
        pause: seconds between two calls.
        calls: how many it has made.
    """

    def __init__(self, registry: ToolRegistry, amounts: list[str], pause: float) -> None:
        super().__init__(name="agent", daemon=True)
        self._registry, self._random = registry, random.Random(7)
        self._stopping = threading.Event()
        self.tool: str | None = None
        self.amounts, self.pause, self.calls = list(amounts), pause, 0

    def run(self) -> None:
        """Call the tool again and again; an error is the tool's, and the agent goes on."""
        while not self._stopping.wait(self.pause if self.tool else 0.05):
            if self.tool:
                with contextlib.suppress(ValueError):
                    self._registry.call(self.tool, amount=self._random.choice(self.amounts))
                self.calls += 1

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._stopping.set()
        self.join()
