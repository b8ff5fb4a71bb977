"""`Brief`: what the author of a repair gets to know. It holds nothing of the calls that are held out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rollguard.improve.secrets import without
from rollguard.rehearse.calls import digest_of


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Case(_Part):
    """A recorded call that the author may see.

    Attributes:
        call_id: the id of the execution.
        parameters: what the tool was called with.
        success: whether it succeeded then.
        result: what it returned then, as JSON; None if that is not known.
        signature: the kind of the failure.
        error, traceback: the texts of the failure, if they were recorded.
    """

    call_id: str
    parameters: dict[str, Any]
    success: bool
    result: str | None = None
    signature: str | None = None
    error: str | None = None
    traceback: str | None = None

    @property
    def size(self) -> int:
        """Return the characters of its parameters as JSON."""
        return len(json.dumps(self.parameters, ensure_ascii=False))


class Attempt(_Part):
    """An earlier proposal for the same cause, as far as its author may know of it.

    Attributes:
        author: who made it.
        reasons: why it did not stay; of held-out calls only that they speak against it.
        sha256: the hash of its source.
    """

    author: str
    reasons: tuple[str, ...]
    sha256: str | None = None


class Recovered(_Part):
    """An error after which the same input passed, with the same version.

    Attributes:
        error_type: the type's name, such as `TimeoutError`.
        written: the type as tracebacks write it, such as `requests.exceptions.ReadTimeout`.
        failures: shown calls that failed with it.
        passed_later: how many of them passed later.
    """

    error_type: str
    written: str
    failures: int
    passed_later: int


class Brief(_Part):
    """What an improver gets to know. It is safe for JSON, and holds no secrets.

    Attributes:
        tool_name: the tool.
        function: the name of the function that is the tool, if none is marked.
        made_at: when it was made, ISO 8601 in UTC.
        base_version, base_sha256: the live version that a repair starts from, and the hash of its bytes.
        source: the live source; a secret in it is replaced by a placeholder, which a proposal may keep.
        calls, failures: shown calls that were investigated, and how many of them failed.
        causes: what failing calls have in common, the one that explains most first; each with `text`.
        signatures: the kinds of failures, the most frequent first.
        since_version: the version that brought the failures, if that is the first cause.
        code: the code around the failing line; empty if that is not known.
        diff: what the version that brought the failing line changed.
        smallest: the smallest failing input that was found by running the tool.
        failing, passing: recorded calls, the smallest first.
        recovered: errors after which the same input passed.
        declared: what the tool says of itself: `read_only`, `idempotent`, `side_effects`, `requires`, `strategy`.
        parameters: the tool's parameters: name, kind, required, annotation and default of each.
        keep: what a repair may not change, in sentences.
        attempts: earlier proposals for this cause.
        notes: what was not looked at, and why.
    """

    tool_name: str
    function: str
    made_at: str
    base_version: int | None
    base_sha256: str
    source: str = Field(repr=False)
    calls: int
    failures: int
    causes: tuple[dict[str, Any], ...]
    signatures: tuple[dict[str, Any], ...] = ()
    since_version: int | None = None
    code: str = ""
    diff: str = ""
    smallest: dict[str, Any] | None = None
    failing: tuple[Case, ...] = Field(default=(), repr=False)
    passing: tuple[Case, ...] = Field(default=(), repr=False)
    recovered: tuple[Recovered, ...] = ()
    declared: dict[str, Any] = Field(default_factory=dict)
    parameters: tuple[dict[str, Any], ...] = ()
    keep: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    hidden: Mapping[str, str] = Field(default_factory=dict, exclude=True, repr=False)
    """The secrets of the source by their placeholders. Nothing that leaves the process holds them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the brief as plain values for JSON."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Brief:
        """Return the brief that `to_dict` wrote; it can no longer put secrets of the source back."""
        return cls.model_validate(values)

    @property
    def sha256(self) -> str:
        """Return the hash of what it says, which an author's answer can be bound to."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def cases(self) -> tuple[Case, ...]:
        """Return the recorded calls that a repair is checked with, those that failed first."""
        return (*self.failing, *self.passing)

    @property
    def seen(self) -> tuple[str, ...]:
        """Return the digests of the inputs that its reader sees; a rehearsal that is given them holds out none."""
        given = [case.parameters for case in self.cases]
        return tuple(sorted(map(digest_of, given if self.smallest is None else [*given, self.smallest])))

    def with_attempt(self, attempt: Attempt) -> Brief:
        """Return the brief with one more earlier proposal."""
        return self.model_copy(update={"attempts": (*self.attempts, attempt)})

    def restored(self, source: bytes) -> bytes:
        """Return a proposed source with the secrets that its placeholders stand for."""
        for placeholder, secret in sorted(self.hidden.items(), key=lambda pair: len(pair[0]), reverse=True):
            source = source.replace(placeholder.encode(), secret.encode())
        return source

    def masked(self, text: str) -> str:
        """Return a text about a proposal with placeholders for the secrets of the source, as its author may read it."""
        return without(text, self.hidden)

    def to_markdown(self) -> str:
        """Return the brief as a text for an author: a person, a coding agent or a model."""
        from rollguard.improve.brief_text import written

        return written(self)
