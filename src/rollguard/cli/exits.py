"""Exit codes, and how an error is told."""

from __future__ import annotations

import sys

from rollguard.errors import (
    BreakingChange,
    DeploymentConflict,
    NotARollguardStore,
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
INTERRUPTED = 130
READER_GONE = 141  # what a shell makes of SIGPIPE

MEANINGS = {
    OK: "all went well",
    ERROR: "an error; one line on stderr says which",
    USAGE: "wrong usage",
    REGRESSION: "health: a regression was found",
    TOOL_FAILED: "call: the tool failed",
    BREAKING: "deploy --strict: it would break callers",
    INTERRUPTED: "interrupted by Ctrl-C",
    READER_GONE: "the reader of the output went away",
}

# What to do next, for errors whose own words do not name a command or a place to look.
_HINTS: tuple[tuple[type[RollguardError], str], ...] = (
    (ToolLoadError, "mend the file and try again; 'rollguard tools' lists every file that cannot be loaded"),
    (UnknownTool, "list the tools with: rollguard tools"),
    (UnknownSession, "list the sessions with: rollguard sessions"),
    (SessionClosed, "list the sessions under watch with: rollguard status"),
    (DeploymentConflict, "look at what is live with: rollguard history TOOL"),
    (NotARollguardStore, "give another file or database as 'database' in rollguard.toml"),
    (StoreBusy, "try again, or raise busy_timeout_seconds under [record] in rollguard.toml"),
    (StoreUnavailable, "'database' in rollguard.toml or ROLLGUARD_DATABASE says which one is meant"),
)


def report(error: Exception) -> int:
    """Say on stderr, in one line, what went wrong, and in a second one what to do; the exit code is returned."""
    from rollguard.cli.words import printable

    print(f"error: {printable(' '.join(_words(error).split()))}", file=sys.stderr)
    hint = next((text for kind, text in _HINTS if isinstance(error, kind)), None)
    if hint is not None and "rollguard " not in str(error):
        print(f"hint: {hint}", file=sys.stderr)
    return BREAKING if isinstance(error, BreakingChange) else ERROR


def usage(problem: str) -> int:
    """Say on stderr what is wrong with the words that were typed; the exit code is returned."""
    print(f"error: {problem}; see: rollguard --help", file=sys.stderr)
    return USAGE


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
