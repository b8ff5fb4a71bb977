"""A small scripted agent: it works through a queue of tasks, calls tools for them, and never stops by itself."""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from rollguard import ToolRegistry

# Always the same story: wherever in this order version 2 begins, it fails now and then, and never three times in a row.
SEED = 146


@dataclass(frozen=True)
class Task:
    """Something to find out, and the tool that can."""

    tool: str
    arguments: tuple[tuple[str, str], ...]


def tasks_for(inputs: Path) -> list[Task]:
    """One round of work: every invoice, every log, every document."""
    invoices = [_task("invoice_total", file) for file in sorted((inputs / "invoices").iterdir())]
    documents = [_task("document_outline", file) for file in sorted((inputs / "documents").iterdir())]
    logs = [_task("log_summary", file) for file in sorted((inputs / "logs").iterdir())]
    api = [_task("log_summary", file, prefix="/api/") for file in sorted((inputs / "logs").glob("shop-[0-9].log"))]
    return invoices + documents + logs + api


def _task(tool: str, file: Path, **more: str) -> Task:
    return Task(tool, (("file", str(file)), *more.items()))


class Agent(threading.Thread):
    """Works in a thread of its own; the same seed gives the same tasks in the same order, round after round.

    It knows nothing of versions, deployments or rollbacks: it calls tools by their names through the registry.

    Attributes:
        pause: seconds between two calls; may be changed while it works.
        calls: how many it has made.
        answers: what it found out, the latest for each task.
        failed: tasks whose latest try failed, and that try's error.
    """

    def __init__(self, registry: ToolRegistry, tasks: list[Task], *, seed: int = SEED) -> None:
        super().__init__(name="agent", daemon=True)
        self._registry = registry
        self._round = random.Random(seed).sample(tasks, len(tasks))
        self._queue: deque[Task] = deque()
        self._stopping = threading.Event()
        self.pause = 0.0
        self.calls = 0
        self.answers: dict[Task, Any] = {}
        self.failed: dict[Task, Exception] = {}

    def run(self) -> None:
        """Work until `stop` is called."""
        while not self._stopping.wait(self.pause):
            if not self._queue:
                self._queue.extend(self._round)
            task = self._queue.popleft()
            try:
                answer = self._registry.call(task.tool, **dict(task.arguments))
            except Exception as error:  # noqa: BLE001 - a tool may raise anything; the agent goes on with its next task
                self.failed[task] = error
            else:
                self.answers[task] = answer
                self.failed.pop(task, None)
            self.calls += 1

    def retry(self) -> list[Task]:
        """Put what failed at its latest try, but has worked before, in front of the queue; these tasks are returned."""
        again = [task for task in list(self.failed) if task in self.answers]
        self._queue.extendleft(reversed(again))
        return again

    def stop(self) -> None:
        """Finish the call under way, and end."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def findings(self) -> list[str]:
        """What the answers come to."""
        of_tool = {
            tool: [answer for task, answer in self.answers.items() if task.tool == tool]
            for tool in ("invoice_total", "log_summary", "document_outline")
        }
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for answer in of_tool["invoice_total"]:
            sums[answer["currency"]] += Decimal(answer["total"])
        money = ", ".join(f"{currency} {amount:,.2f}" for currency, amount in sorted(sums.items()))
        whole_logs = {
            dict(task.arguments)["file"]: answer
            for task, answer in self.answers.items()
            if task.tool == "log_summary" and len(task.arguments) == 1
        }
        broken = sum(len(answer["broken_links"]) for answer in of_tool["document_outline"])
        return [
            f"{len(of_tool['invoice_total'])} invoices to pay: {money}",
            f"{sum(a['server_errors'] for a in whole_logs.values())} server errors among "
            f"{sum(a['requests'] for a in whole_logs.values())} requests in {len(whole_logs)} logs",
            f"{broken} links that lead nowhere in {len(of_tool['document_outline'])} documents",
        ]
