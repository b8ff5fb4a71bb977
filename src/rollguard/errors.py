"""Every error Rollguard raises. Each is a `RollguardError`, and its message says what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SAID = {  # of pydantic's kinds of error
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "dict_type": "is not a table",
    "model_type": "is not a table",
    "string_type": "is not a string",
    "tuple_type": "is not a list",
}


class RollguardError(Exception):
    """Base of every error that Rollguard raises on purpose."""


# --- bad input -----------------------------------------------------------------------------------------------------


class InvalidInput(RollguardError, ValueError):
    """A value was given that cannot be meant; the message names it and the allowed range."""

    number: int | None = None
    """Where many executions were given: which of them it is about, from 1 on."""


class InvalidToolName(InvalidInput):
    """A tool's name is empty, over-long, or holds a character that no tool name may hold."""


class InvalidSetting(InvalidInput):
    """A setting has an unknown key or an impossible value; the message names the key and the allowed range."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem

    @classmethod
    def of(cls, details: Mapping[str, Any], known: Iterable[str]) -> InvalidSetting:
        """Say what pydantic found in a value (`ValidationError.errors()` of it) as a setting's problem.

        Args:
            details: one of the errors.
            known: the keys that there are, which an unknown one is answered with.
        """
        raised = details.get("ctx", {}).get("error")
        table = ".".join(map(str, details["loc"]))
        if isinstance(raised, InvalidSetting):
            return cls(f"{table}.{raised.key}".strip("."), raised.problem)
        kind, given, message = details["type"], details["input"], details["msg"]
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            return cls(table, f"unknown setting; the known ones are {', '.join(known)}")
        if kind == "literal_error":
            message = "is not one of " + details["ctx"]["expected"].replace(" or ", ", ").replace("'", '"')
        message = _SAID.get(kind, message)
        return cls(
            table,
            f"{given!r} {message}" if message.startswith("is ") else f"{given!r}: {message[0].lower()}{message[1:]}",
        )


# --- things that are not there -------------------------------------------------------------------------------------


class UnknownTool(RollguardError, LookupError):
    """No tool of that name is in the registry's folder."""


class UnknownVersion(RollguardError, LookupError):
    """The tool has no version of that number."""


class UnknownSession(RollguardError, LookupError):
    """No monitoring session has that id."""


# --- tools ---------------------------------------------------------------------------------------------------------


class ToolLoadError(RollguardError):
    """A tool's file cannot be turned into a tool: it does not compile, fails on import, or defines none."""


class ToolFileError(RollguardError):
    """A tool's file cannot be read or written (permissions, full disk, a folder in its place)."""


class DeploymentConflict(RollguardError):
    """Another deployment of the tool was made at the same moment, and it won; look at the live version and decide."""


class BreakingChange(RollguardError):
    """A deployment that had to break no caller would break some; nothing was changed. Deploy it without `strict`, or
    keep what callers use."""


# --- sessions and rollbacks ----------------------------------------------------------------------------------------


class SessionClosed(RollguardError):
    """The monitoring session is no longer active, so it cannot be changed."""


class RollbackRefused(RollguardError):
    """The rollback's claim was not granted: somebody decided first, or the version is no longer live."""


class CodeQuarantined(RollguardError):
    """The code was rolled back before and may not go live again, unless a person insists."""


class ActuatorFailed(RollguardError):
    """What puts a tool's version in its place elsewhere (a command, a webhook) did not acknowledge that it did."""

    def __init__(self, problem: str, output: str | None = None) -> None:
        super().__init__(problem)
        self.output = output


class NoEarlierVersion(RollguardError):
    """There is no version to go back to: none was live before, or every one of them was rolled back itself."""


# --- the store -----------------------------------------------------------------------------------------------------


class StoreError(RollguardError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or does not answer; nothing was written, and trying again later may work."""


class StoreBusy(StoreUnavailable):
    """Another process holds the database's lock for longer than the busy timeout; nothing was written."""


class StoreReadOnly(StoreUnavailable):
    """The database refuses writes (a read-only file, folder or server); nothing was written."""


class StoreFull(StoreUnavailable):
    """The disk under the database is full; nothing was written."""


class StoreConflict(StoreError):
    """The database's own constraints refused a change that would have broken an invariant; nothing was written."""


class SchemaTooNew(StoreError):
    """The database was written by a newer Rollguard than this one; upgrade Rollguard to open it."""


class SchemaTooOld(StoreError):
    """The database was written by a Rollguard from before the first release; the message says how to bring it over."""


class NotARollguardStore(StoreError):
    """The file or database holds something else than a Rollguard store."""
