"""`Improvers`: ask several improvers in turn, and keep what became of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rollguard.errors import ImproverFailed, InvalidInput
from rollguard.improve.brief import Attempt, Brief
from rollguard.improve.problems import problems_of
from rollguard.improve.proposal import Improver, Proposal
from rollguard.model.log import logger_of
from rollguard.model.redaction import DEFAULT, Redaction
from rollguard.model.text import one_line, printable

logger = logger_of(__name__)
_LONGEST_REASON, _LONGEST_OUTPUT = 1_000, 16_384
Accept = Callable[[Proposal], Sequence[str]]
"""Returns why a proposal is refused, as its author may know it; empty accepts it."""


class Outcome(StrEnum):
    """What became of asking one improver."""

    PROPOSED = "proposed"
    DECLINED = "declined"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one improver answered.

    Attributes:
        improver: its name.
        outcome: what became of it.
        proposal: what it proposed; None if it declined or failed.
        problems: why it failed, or why its proposal was refused.
        output: what its program printed.
        seconds: how long it took.
        tokens: the tokens that it took, as far as that is known; also where it failed.
        cost: what it cost in US dollars, in the same way.
    """

    improver: str
    outcome: Outcome
    proposal: Proposal | None = None
    problems: tuple[str, ...] = ()
    output: str = field(default="", repr=False)
    seconds: float = 0.0
    tokens: int | None = None
    cost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as plain values for JSON, without the source."""
        proposal = None if self.proposal is None else self.proposal.to_dict()
        if proposal is not None:
            del proposal["source"]
        return {
            "improver": self.improver,
            "outcome": self.outcome.value,
            "proposal": proposal,
            "problems": list(self.problems),
            "output": self.output,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "cost": self.cost,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking improvers in turn.

    Attributes:
        proposal: the first one that was not refused; None if there is none.
        answers: what each improver that was asked answered, in order.
    """

    proposal: Proposal | None
    answers: tuple[Answer, ...]

    @property
    def tokens(self) -> int:
        """Return the tokens that all of it took, as far as that is known."""
        return sum(answer.tokens or 0 for answer in self.answers)

    @property
    def cost(self) -> float:
        """Return what all of it cost in US dollars, as far as that is known."""
        return sum(answer.cost or 0.0 for answer in self.answers)


class Improvers:
    """Asks improvers in turn: the next one where one has no proposal, fails, or its proposal is refused.

    Args:
        improvers: in the order in which they are asked; each name once.
        redaction: what is a secret in errors and reasons.

    Raises:
        InvalidInput: two have the same name.
    """

    name = "improvers"

    def __init__(self, improvers: Sequence[Improver] = (), *, redaction: Redaction = DEFAULT) -> None:
        self._improvers, self._redaction = tuple(improvers), redaction
        names = [improver.name for improver in self._improvers]
        if len(set(names)) < len(names):
            raise InvalidInput(f"improvers: two have the same name ({', '.join(names)}); give each its own")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names, in the order in which they are asked."""
        return tuple(improver.name for improver in self._improvers)

    def propose(self, brief: Brief) -> Proposal | None:
        """Return the first proposal that is a tool and differs from the live source; None if there is none."""
        return self.ask(brief).proposal

    def ask(self, brief: Brief, accept: Accept | None = None, *, only: str | None = None) -> Asked:
        """Ask the improvers in turn, until a proposal is accepted.

        The next one gets to know why the proposal of the one before was refused.

        Args:
            brief: what they get to know.
            accept: says why a proposal is refused, such as by a rehearsal; by default none is.
            only: ask only the improver with this name.

        Raises:
            InvalidInput: no improver has the name `only`.
        """
        answers: list[Answer] = []
        for improver in self._chosen(only):
            answer = self._asked(improver, brief, accept)
            answers.append(answer)
            if answer.outcome is Outcome.PROPOSED:
                return Asked(answer.proposal, tuple(answers))
            if answer.outcome is Outcome.REFUSED and answer.proposal is not None:
                brief = brief.with_attempt(
                    Attempt(author=improver.name, reasons=answer.problems, sha256=answer.proposal.sha256)
                )
        return Asked(None, tuple(answers))

    def _chosen(self, only: str | None) -> Sequence[Improver]:
        if only is None:
            return self._improvers
        chosen = [improver for improver in self._improvers if improver.name == only]
        if not chosen:
            known = f"the known ones are {', '.join(self.names)}" if self._improvers else "the settings name none"
            raise InvalidInput(f"improver: there is none named {only!r}; {known}")
        return chosen

    def _asked(self, improver: Improver, brief: Brief, accept: Accept | None) -> Answer:
        began = time.monotonic()
        try:
            proposal = improver.propose(brief)
            if proposal is not None and not isinstance(proposal, Proposal):
                raise ImproverFailed(f"it returned {type(proposal).__name__}, and neither a Proposal nor None")
        except Exception as error:  # noqa: BLE001 - an improver is anybody's code; the next one is asked
            return self._failed(improver.name, error, time.monotonic() - began)
        seconds = time.monotonic() - began
        if proposal is None:
            return Answer(improver.name, Outcome.DECLINED, seconds=seconds)
        proposal = self._cleaned(proposal, brief, improver.name, seconds)
        problems = list(problems_of(proposal.source, brief))
        if not problems and accept is not None:
            problems = list(accept(proposal))
        outcome = Outcome.REFUSED if problems else Outcome.PROPOSED
        said = tuple(self._said(brief.masked(problem)) for problem in problems)
        return Answer(improver.name, outcome, proposal, said, proposal.output, seconds, proposal.tokens, proposal.cost)

    def _failed(self, name: str, error: Exception, seconds: float) -> Answer:
        said = str(error) if isinstance(error, ImproverFailed) else f"{type(error).__name__}: {error}"
        problem = self._said(said)
        logger.warning("the improver %s failed: %s", name, problem)
        answer = Answer(name, Outcome.FAILED, problems=(problem,), seconds=seconds)
        if not isinstance(error, ImproverFailed):
            return answer
        return replace(answer, output=self._kept(error.output), tokens=error.tokens, cost=error.cost)

    def _cleaned(self, proposal: Proposal, brief: Brief, name: str, seconds: float) -> Proposal:
        """Return a proposal with the source's own secrets, and without any in its texts."""
        return replace(
            proposal,
            source=brief.restored(proposal.source),
            author=name,
            reason=self._said(proposal.reason),
            seconds=proposal.seconds or seconds,
            output=self._kept(proposal.output),
        )

    def _said(self, text: str) -> str:
        return one_line(self._redaction.text(text.strip()))[:_LONGEST_REASON]

    def _kept(self, text: str) -> str:
        return printable(self._redaction.text(text[-_LONGEST_OUTPUT:]))
