"""Every error that Rollguard raises. Each is a `RollguardError`, and its message says what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

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


def unchained(error: BaseException) -> NoReturn:
    """Raise an error without those that caused it, because their text or value may hold a secret."""
    try:
        raise error
    finally:
        error.__cause__ = error.__context__ = None


def given(value: object, *, secret: bool = False) -> str:
    """Return an invalid value for an error's text, unless it is, or may be, a secret such as a URL."""
    text = repr(value)
    return "the given value (not shown: it may be a secret)" if secret or "://" in text else text


# --- bad input -----------------------------------------------------------------------------------------------------


class InvalidInput(RollguardError, ValueError):
    """A value is invalid; the message names it and what is allowed."""

    number: int | None = None
    """The position of the invalid execution if many were given, from 1 on."""


class InvalidToolName(InvalidInput):
    """A tool's name is empty, too long, or contains a character that is not allowed."""


class InvalidSetting(InvalidInput):
    """A setting has an unknown key or an invalid value; the message names the key and what is allowed."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem

    @classmethod
    def unknown(cls, key: str, known: Iterable[str]) -> InvalidSetting:
        """Say that there is no such setting: which one may be meant, and which there are."""
        known = list(known)
        (near,) = get_close_matches(key.rpartition(".")[2], known, 1, 0.8) or ("",)
        meant = f"did you mean {near}? " if near else ""
        return cls(key, f"unknown setting; {meant}the known ones are {', '.join(known)}")

    @classmethod
    def of(cls, details: Mapping[str, Any], known: Iterable[str], *, secret: Collection[str] = ()) -> InvalidSetting:
        """Say what pydantic found in a value (`ValidationError.errors()` of it) as a setting's problem.

        Args:
            details: one of the errors.
            known: the keys that there are, which an unknown one is answered with.
            secret: keys whose value is not shown.
        """
        raised = details.get("ctx", {}).get("error")
        table = ".".join(map(str, details["loc"]))
        if isinstance(raised, InvalidSetting):
            return cls(f"{table}.{raised.key}".strip("."), raised.problem)
        kind, message = details["type"], details["msg"]
        value = given(details["input"], secret=bool(details["loc"]) and details["loc"][0] in secret)
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            return cls.unknown(table, known)
        if kind == "literal_error":
            message = "is not one of " + details["ctx"]["expected"].replace(" or ", ", ").replace("'", '"')
        message = _SAID.get(kind, message)
        return cls(
            table,
            f"{value} {message}" if message.startswith("is ") else f"{value}: {message[0].lower()}{message[1:]}",
        )


# --- things that do not exist --------------------------------------------------------------------------------------


class UnknownTool(RollguardError, LookupError):
    """There is no tool with this name."""


class UnknownVersion(RollguardError, LookupError):
    """The tool has no version with this number."""


class UnknownSession(RollguardError, LookupError):
    """There is no monitoring session with this id, or no session at all."""


class UnknownExecution(RollguardError, LookupError):
    """There is no stored execution with this id."""


class AmendmentRefused(RollguardError):
    """An execution can no longer be amended, because it is too old or was counted as final; nothing was changed."""


# --- tools ---------------------------------------------------------------------------------------------------------


class ToolLoadError(RollguardError):
    """A tool's file cannot be loaded: it does not compile, fails on import, or defines no tool."""


class ToolFileError(RollguardError):
    """A tool's file cannot be read or written (permissions, full disk, a folder in its place)."""


class DeploymentConflict(RollguardError):
    """Another deployment of the tool at the same moment won. Check the live version before you deploy again."""


class ReleaseConflict(RollguardError):
    """A release does not fit what is recorded: its label names other code, or a live version would be lost. Nothing was
    changed."""


class BreakingChange(RollguardError):
    """A deployment with `strict` would break callers; nothing was changed. Keep what callers use, or deploy without
    `strict`."""


class RehearsalRefused(RollguardError):
    """A rehearsal found that the code fixes nothing, breaks calls or hides errors; nothing was deployed."""


class RehearsalUndecided(RollguardError):
    """A rehearsal leaves the decision to a person; nothing was deployed. Read its report, then deploy without it."""


# --- sessions and rollbacks ----------------------------------------------------------------------------------------


class SessionClosed(RollguardError):
    """The monitoring session is no longer active, so it cannot be changed."""


class RollbackRefused(RollguardError):
    """The rollback was not granted: another decision came first, or the version is no longer live."""


class CodeQuarantined(RollguardError):
    """The code was rolled back before. It goes live again only with `force`."""


class ActuatorFailed(RollguardError):
    """The command or webhook that puts a version in place at its target did not acknowledge it."""

    def __init__(self, problem: str, output: str | None = None) -> None:
        super().__init__(problem)
        self.output = output


class NoEarlierVersion(RollguardError):
    """There is no version to go back to: no other version was live before, or each of them was rolled back itself."""


# --- the autonomous loop -------------------------------------------------------------------------------------------


class UnknownAttempt(RollguardError, LookupError):
    """There is no attempt to improve a tool with this number."""


class AttemptClosed(RollguardError):
    """The attempt is in another state by now, so it was not changed; see it with `rollguard proposals show`."""


class ApprovalRefused(RollguardError):
    """The proposal may not be approved: it has expired, is not what was rehearsed, or you may not decide; see why in
    the message."""


# --- the sandbox ---------------------------------------------------------------------------------------------------


class SandboxUnavailable(RollguardError):
    """The sandbox cannot keep code apart on this machine, so nothing was run; the message says what it lacks."""


# --- repairs -------------------------------------------------------------------------------------------------------


class ImproverFailed(RollguardError):
    """What writes repairs could not do its work: it ended with an error, took too long or returned no source."""

    def __init__(self, problem: str, output: str = "", *, tokens: int | None = None, cost: float | None = None) -> None:
        super().__init__(problem)
        self.output, self.tokens, self.cost = output, tokens, cost


# --- the service ---------------------------------------------------------------------------------------------------


class ServiceRefused(RollguardError):
    """The service refused a request of its client; the message says why."""


# --- the store -----------------------------------------------------------------------------------------------------


class StoreError(RollguardError):
    """The store could not do what you asked for."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or does not answer; nothing was written. Try again later."""


class StoreBusy(StoreUnavailable):
    """Another process locks the database for longer than the busy timeout; nothing was written."""


class StoreReadOnly(StoreUnavailable):
    """The database refuses writes (a read-only file, folder or server); nothing was written."""


class StoreFull(StoreUnavailable):
    """The disk under the database is full; nothing was written."""


class SchemaDamaged(StoreUnavailable):
    """The database lacks a part of Rollguard's schema, such as a column, that its revision promises; nothing was
    written. `rollguard doctor` names what is missing."""


class StoreConflict(StoreError):
    """A constraint of the database refused the change; nothing was written."""


class SchemaTooNew(StoreError):
    """A newer Rollguard wrote the database; upgrade Rollguard to open it."""


class SchemaTooOld(StoreError):
    """The database was written by a Rollguard from before the first release; the message says how to bring it over."""


class NotARollguardStore(StoreError):
    """The file or database is not a Rollguard store."""
