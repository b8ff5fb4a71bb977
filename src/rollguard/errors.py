"""Every error that Rollguard raises. Each is a `RollguardError`, and its message says what to do."""

from __future__ import annotations


class RollguardError(Exception):
    """Base of every error that Rollguard raises on purpose."""


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


# --- things that do not exist --------------------------------------------------------------------------------------


class UnknownTool(RollguardError, LookupError):
    """There is no tool with this name."""


class UnknownVersion(RollguardError, LookupError):
    """The tool has no version with this number."""


class UnknownSession(RollguardError, LookupError):
    """There is no monitoring session with this id, or no session at all."""


# --- tools ---------------------------------------------------------------------------------------------------------


class ToolLoadError(RollguardError):
    """A tool's file cannot be loaded: it does not compile, fails on import, or defines no tool."""


class ToolFileError(RollguardError):
    """A tool's file cannot be read or written (permissions, full disk, a folder in its place)."""


class DeploymentConflict(RollguardError):
    """Another deployment of the tool at the same moment won. Check the live version before you deploy again."""


class BreakingChange(RollguardError):
    """A deployment with `strict` would break callers; nothing was changed. Keep what callers use, or deploy without
    `strict`."""


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


class StoreConflict(StoreError):
    """A constraint of the database refused the change; nothing was written."""


class SchemaTooNew(StoreError):
    """A newer Rollguard wrote the database; upgrade Rollguard to open it."""


class NotARollguardStore(StoreError):
    """The file or database is not a Rollguard store."""
