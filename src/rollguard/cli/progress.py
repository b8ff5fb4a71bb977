"""The progress bar of commands that take long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, done: float, count: str = "", /) -> object:
        """Show how much is done, and a count beside it."""


@contextmanager
def progress(name: str, *, size: float | None = 1.0) -> Iterator[Advance]:
    """Show a progress bar on stderr, where stderr is a terminal, and yield what moves it on.

    Args:
        size: how much there is to do; None where nobody knows.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _count="": None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    words = (TextColumn("{task.description}"), TextColumn("{task.fields[count]}"))
    with Progress(
        words[0], BarColumn(), words[1], TaskProgressColumn(), TimeRemainingColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(name, total=size, count="")
        yield lambda done, count="": bar.update(task, completed=done, count=count)
