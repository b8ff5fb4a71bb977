"""`Improver` and `Proposal`: the protocol of what writes a repair, and what it returns."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollguard.errors import InvalidInput
from rollguard.improve.brief import Brief


@dataclass(frozen=True, slots=True)
class Proposal:
    """A repair, as its author proposes it. Nothing about it was checked yet.

    Attributes:
        source: the whole source of the candidate.
        author: who made it: the improver's name.
        reason: what it changes and why, in the author's words.
        model: the model that wrote it, if one did.
        prompt_sha256: the hash of the instructions and the material that the author got.
        tokens: the tokens that it took; None if that is not known.
        cost: what it cost in US dollars; None if that is not known.
        seconds: how long it took.
        output: what the author's program printed, cut and without secrets.

    Raises:
        InvalidInput: the source is not bytes, or a number is none.
    """

    source: bytes = field(repr=False)
    author: str
    reason: str
    model: str | None = None
    prompt_sha256: str | None = None
    tokens: int | None = None
    cost: float | None = None
    seconds: float = 0.0
    output: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.source, bytes):
            raise InvalidInput(f"source: {type(self.source).__name__} is not bytes")
        for name in ("tokens", "cost", "seconds"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise InvalidInput(f"{name}: {value!r} is not a number of 0 or more")

    @property
    def sha256(self) -> str:
        """Return the hash of the source."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def version_reason(self) -> str:
        """Return the reason that its version is stored with: why, by which model, and the hash of what it was given."""
        by = [f"model {self.model}"] if self.model else []
        by += [f"prompt sha256 {self.prompt_sha256}"] if self.prompt_sha256 else []
        return f"{self.reason} ({', '.join(by)})" if by else self.reason

    def to_dict(self) -> dict[str, Any]:
        """Return the proposal as plain values for JSON, without its output."""
        names = ("author", "reason", "model", "prompt_sha256", "tokens", "cost", "seconds", "sha256")
        return {**{name: getattr(self, name) for name in names}, "source": self.source.decode("utf-8", "replace")}


class Improver(Protocol):
    """What writes repairs. Write your own as a class with a name and this method.

    Attributes:
        name: names it in settings, versions and reports.
    """

    name: str

    def propose(self, brief: Brief) -> Proposal | None:
        """Return a repair, or None if it has none to propose.

        Raises:
            ImproverFailed: it could not do its work; the next improver is asked.
        """
