"""One file of the folder as a process serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from rollguard.errors import ToolLoadError
from rollguard.model.split import Drawn
from rollguard.record.call import IsFailure, Subject
from rollguard.record.call_marks import CallMarks
from rollguard.record.kept import kept_of
from rollguard.registry.folder.folder import FileStamp
from rollguard.registry.serve.loader import LoadedTool

if TYPE_CHECKING:
    from rollguard.registry.serve.sharing import Beside


@dataclass(slots=True)
class Served:
    """One file: its tool, or why it has none.

    Attributes:
        stamp: the file's stamp when it was read.
        settled: whether every later change of the file changes its stamp. A file written just before the read may be
            written again at the same file system time, with the same inode.
        held: the tool, or its error.
        subject: what a call of it runs.
        refused: code in the file that is not served: its hash, and why. Another version of the tool is served.
        held_back: whether the code that is not served may be served later: it is in quarantine, or is not live.
        version_number: the version of the file's code; None if it is unknown, or not a version.
        unrecorded: whether its code may be no version, or one that has to go live because the file was edited.
        ask_at: when to record it, or to ask whether other code is still held back (by the monotonic clock).
        swap: `Folder.latest_swap` before the file was last checked.
        beside: the version that serves beside it, of a tool under rollout.
        marked_as: how its calls are marked, of a tool under rollout; by default with the version.
        check_at: when to check the file although this process made no swap since (by the monotonic clock).
    """

    stamp: FileStamp | None
    settled: bool
    sha256: str
    held: LoadedTool | ToolLoadError
    subject: Subject
    refused: tuple[str, ToolLoadError] | None = None
    held_back: bool = False
    version_number: int | None = None
    unrecorded: bool = True
    ask_at: float = 0.0
    swap: object = None
    check_at: float = 0.0
    beside: Beside | None = None
    marked_as: Drawn | None = None

    @property
    def tool(self) -> LoadedTool | None:
        """Return the tool, if the file has one."""
        return self.held if isinstance(self.held, LoadedTool) else None

    @property
    def problem(self) -> ToolLoadError | None:
        """Return why the file has no tool, or None."""
        return self.held if isinstance(self.held, ToolLoadError) else None

    def mark_calls(self, marks: CallMarks) -> None:
        """Mark calls in flight, until they need no marks any more."""
        plain = self.subject

        def retire() -> None:
            self.subject = plain

        invoke = marks.marked(
            plain.name, plain.invoke, lambda: self.marked_as or self.version_number, retire, is_async=plain.is_async
        )
        self.subject = replace(plain, invoke=invoke)

    def is_as_on_disk(self, stamp: FileStamp | None) -> bool:
        """Return whether a file with that stamp is known to hold the tool that is served."""
        return self.tool is not None and self.refused is None and self.settled and self.stamp == stamp

    def refusal_of(self, sha256: str) -> ToolLoadError | None:
        """Return why code of that hash is not served, if this was found out."""
        if self.refused is not None and self.refused[0] == sha256:
            return self.refused[1]
        return self.problem if self.sha256 == sha256 else None

    def on_disk(self) -> LoadedTool:
        """Return the tool of the file as it is now, or raise why it does not load."""
        if self.refused is not None:
            _refuse(self.refused[1])
        return self.loaded()

    def loaded(self) -> LoadedTool:
        """Return the tool that is served, or raise why there is none."""
        if isinstance(self.held, ToolLoadError):
            _refuse(self.held)
        return self.held


def subject_of(
    name: str, held: LoadedTool | ToolLoadError, failure_rules: Mapping[str, IsFailure], timeout: float | None = None
) -> Subject:
    """Return what a call of a file runs: its tool, or the error that it has none.

    Args:
        timeout: the seconds after which a call counts as failed, instead of what the tool itself says.
    """
    if isinstance(held, ToolLoadError):
        return Subject(name, partial(_refuse, held))
    score = None if held.mark is None else held.mark.score
    kept, limit = kept_of(held.function, held.mark), held.timeout_seconds if timeout is None else timeout
    return Subject(
        name, held.invoke, judges_of(name, held, failure_rules), held.is_async, kept, limit, score, held.running
    )


def judges_of(name: str, tool: LoadedTool | None, failure_rules: Mapping[str, IsFailure]) -> tuple[IsFailure, ...]:
    """Return the checks for failures in a tool's results: the tool's own, then that of the settings."""
    both = (tool.is_failure if tool else None, failure_rules.get(name))
    return tuple(judge for judge in both if judge is not None)


def _refuse(error: ToolLoadError, /, **_parameters: object) -> NoReturn:
    """Raise a copy of the error; a repeatedly raised one would collect the frames of every call."""
    raise ToolLoadError(str(error)) from error.__cause__
