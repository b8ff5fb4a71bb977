"""The progress bar of long commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rollguard.model.text import one_line


class Advance(Protocol):
    """Advances a progress bar."""

    def __call__(self, done: float, count: str = "", /) -> object:
        """Show how much is done, and a count beside it."""


@contextmanager
def progress(name: str, *, size: float | None = 1.0) -> Iterator[Advance]:
    """Show a progress bar if stderr is a terminal, and yield the function that advances it.

    Args:
        size: how much there is to do; None if it is not known.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _count="": None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    labels = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[count]}", markup=False))
    with Progress(
        labels[0], BarColumn(), labels[1], TaskProgressColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(one_line(name), total=size, count="")
        yield lambda done, count="": bar.update(task, completed=done, count=count)
