"""Exit codes, and how an error is reported."""

from __future__ import annotations

import sys
from typing import Any

from rollguard.errors import (
    ApprovalRefused,
    AttemptClosed,
    BreakingChange,
    DeploymentConflict,
    NotARollguardStore,
    RehearsalRefused,
    RehearsalUndecided,
    ReleaseConflict,
    RollguardError,
    SessionClosed,
    StoreBusy,
    StoreUnavailable,
    ToolLoadError,
    UnknownSession,
    UnknownTool,
)

OK = 0
ERROR = 1
USAGE = 2
REGRESSION = 3
TOOL_FAILED = 4
BREAKING = 5
REFUSED = 6
UNDECIDED = 7
CONFLICT = 8
INTERRUPTED = 130
READER_GONE = 141  # what a shell makes of SIGPIPE

MEANINGS = {
    OK: "all went well",
    ERROR: "an error; one line on stderr says which",
    USAGE: "wrong usage",
    REGRESSION: "health: a regression was found; sync: the release was rolled back",
    TOOL_FAILED: "call: the tool failed",
    BREAKING: "deploy, release, sync --strict: it would break callers",
    REFUSED: "rehearse, deploy --rehearse, proposals: the code is refused; improve: there is no candidate",
    UNDECIDED: "rehearse, deploy --rehearse, proposals: a person has to decide",
    CONFLICT: "release, sync: what is live or was released is other code",
    INTERRUPTED: "interrupted by Ctrl-C",
    READER_GONE: "the reader of the output closed it",
}

_CODES: dict[type[RollguardError], int] = {
    ApprovalRefused: REFUSED,
    AttemptClosed: REFUSED,
    BreakingChange: BREAKING,
    RehearsalRefused: REFUSED,
    RehearsalUndecided: UNDECIDED,
    ReleaseConflict: CONFLICT,
}

# What to do next, for errors whose message does not name a command.
_HINTS: tuple[tuple[type[RollguardError], str], ...] = (
    (ToolLoadError, "fix the file and try again; 'rollguard tools' lists every file that cannot be loaded"),
    (UnknownTool, "list the tools with: rollguard tools"),
    (UnknownSession, "list the sessions with: rollguard sessions"),
    (SessionClosed, "list the active sessions with: rollguard status"),
    (DeploymentConflict, "see what is live with: rollguard versions TOOL"),
    (NotARollguardStore, "give another file or database as 'database' in rollguard.toml"),
    (StoreBusy, "try again, or raise busy_timeout_seconds under [record] in rollguard.toml"),
    (StoreUnavailable, "'database' in rollguard.toml or ROLLGUARD_DATABASE names the database to use"),
)


def report(error: Exception) -> int:
    """Print what went wrong to stderr in one line, and what to do in a second one, and return the exit code."""
    from rollguard.model.text import printable

    print(f"error: {printable(' '.join(_message(error).split()))}", file=sys.stderr)
    hint = next((text for kind, text in _HINTS if isinstance(error, kind)), None)
    if hint is not None and "rollguard " not in str(error):
        print(f"hint: {hint}", file=sys.stderr)
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ERROR)


def usage(problem: str) -> int:
    """Print to stderr what is wrong with the arguments, and return the exit code."""
    from rollguard.model.text import one_line

    print(f"error: {one_line(problem)}; see: rollguard --help", file=sys.stderr)
    return USAGE


def wrong_usage(error: Any) -> int:
    """Print to stderr what Typer found wrong with the arguments, and return the exit code."""
    from typer.rich_utils import rich_format_error

    from rollguard.model.text import printable

    error.message = printable(error.message)  # it repeats the argument
    rich_format_error(error)
    return int(error.exit_code)


def aborted() -> int:
    """Say that a question was not answered, and return the exit code."""
    print("Aborted.", file=sys.stderr)
    return ERROR


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
