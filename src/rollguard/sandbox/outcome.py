"""What a tool did in the sandbox with each input, and the limits that it ran under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class OutcomeKind(StrEnum):
    """How one run of a tool with one input ended."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed_out"
    DIED = "died"  # the process ended: an exit, a signal, too much memory
    NOT_RUN = "not_run"  # the code did not load, or the run as a whole ended before this input


@dataclass(frozen=True, slots=True)
class Frame:
    """The innermost line of the tool's own code in a traceback.

    Attributes:
        function: the name of the function.
        line: the number of the line, from 1.
        text: the text of the line, without the space around it.
    """

    function: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool did with one input.

    Attributes:
        kind: how the run ended. A result that the tool's own `is_failure` finds a failure counts as raised.
        result: what it returned, as JSON text in the form in which a call is recorded; None unless it returned.
        error_type: the class of what it raised, such as `ValueError`, or `ReturnedFailure`, or `ResultTooLarge`; None
            unless it raised.
        error: what is wrong, in words; None if it returned.
        frame: where it raised; None if that is not in its own code.
        duration_ms: how long it ran, in milliseconds, by the clock of the process that asked.
        memory_bytes: the most memory that its process held so far; 0 if it ended at once.
        output: the beginning of what it printed.
        kinds: the classes in what it returned that JSON does not know, such as `tuple`, `generator` or `Decimal`.
        changed_input: whether it changed what it was given.
    """

    kind: OutcomeKind
    result: str | None = None
    error_type: str | None = None
    error: str | None = None
    frame: Frame | None = None
    duration_ms: float = 0.0
    memory_bytes: int = 0
    output: str = ""
    kinds: tuple[str, ...] = ()
    changed_input: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use. What goes beyond is an outcome, not an error.

    Attributes:
        seconds: the time for one input, by the clock.
        total_seconds: the time for all inputs together, start and load included.
        memory_bytes: the memory of the process, beside what the interpreter takes.
        output_bytes: what of its output is kept; the rest is read and forgotten.
        result_bytes: the longest result, as JSON.
        file_bytes: the largest file that it may write into its temporary folder; all together may have four times that.
        environment: the environment variables that it sees, and no others.
        hosts: the hosts that it may connect to, each `name` (then at port 443) or `name:port`; none by default.
    """

    seconds: float = 10.0
    total_seconds: float = 300.0
    memory_bytes: int = 512 * 1024 * 1024
    output_bytes: int = 4 * 1024
    result_bytes: int = 1024 * 1024
    file_bytes: int = 16 * 1024 * 1024
    environment: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
