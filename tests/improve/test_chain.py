"""Improvers are asked in turn, and what became of each is kept; a function of the user's is one, too."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rollguard.errors import ImproverFailed, InvalidInput
from rollguard.improve import Attempt, Brief, CallableImprover, Improvers, Outcome, Proposal
from tests.improve.helpers import OLD, RIGHT, a_brief


def by(answer: Any, name: str = "mine") -> CallableImprover:
    """An improver that returns this, calls it with the brief, or raises it."""

    def improve(brief: Brief) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer(brief) if callable(answer) else answer

    return CallableImprover(improve, name=name)


def test_the_next_one_is_asked() -> None:
    """One that declines, fails or is refused is followed by the next; each answer is kept, and none is lost."""
    improvers = Improvers(
        [
            by(None, "nothing"),
            by(ValueError("api_key=abcdefgh12345"), "broken"),
            by(ImproverFailed("took longer than 5 s", "half", tokens=7, cost=0.5), "late"),
            by(OLD, "same"),
            by(Proposal(RIGHT.encode(), "somebody", "strips\ncommas", tokens=10, cost=0.25), "right"),
            by(RIGHT, "never asked"),
        ]
    )
    asked = improvers.ask(a_brief())
    assert [(answer.improver, answer.outcome.value) for answer in asked.answers] == [
        ("nothing", "declined"),
        ("broken", "failed"),
        ("late", "failed"),
        ("same", "refused"),
        ("right", "proposed"),
    ]
    assert asked.answers[1].problems == ("ValueError: api_key=***",)
    assert (asked.answers[2].output, asked.answers[2].problems) == ("half", ("took longer than 5 s",))
    assert asked.answers[3].problems == ("it changes nothing",)
    assert asked.proposal is not None
    assert (asked.proposal.author, asked.proposal.reason) == ("right", "strips\\ncommas")
    assert (asked.tokens, asked.cost) == (17, 0.75)
    assert asked.answers[4].to_dict()["proposal"]["sha256"] == asked.proposal.sha256


def test_reasons_of_refusals_are_told() -> None:
    """A proposal that the caller refuses is followed by the next improver, which is told why; a second try is seen."""
    told: list[tuple[Attempt, ...]] = []

    def second(brief: Brief) -> str:
        told.append(brief.attempts)
        return RIGHT

    other = RIGHT.replace("str(amount)", "f'{amount}'")
    improvers = Improvers([by(RIGHT, "first"), by(second, "second"), by(other, "third")])
    asked = improvers.ask(a_brief(), lambda proposal: ["it breaks b1"] if proposal.author == "first" else [])
    assert [answer.outcome for answer in asked.answers] == [Outcome.REFUSED, Outcome.REFUSED, Outcome.PROPOSED]
    assert [(one.author, one.reasons) for one in told[0]] == [("first", ("it breaks b1",))]
    assert asked.answers[1].problems == ("the same source was refused before",)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I cannot do that.", "no tool in it"),
        ("def price(amount, count=1:", "cannot be loaded"),
        ("x" * 200_000, "131,072"),
        (RIGHT.replace("amount, count=1", "amount"), "callers would break"),
        (RIGHT.replace("price", "cost"), "no tool in it"),
        (b"\xff\xfe\x00", "the candidate"),
        ("\ud800", "the candidate"),
    ],
)
def test_what_is_no_candidate(answer: Any, problem: str) -> None:
    """Nonsense, too much and what breaks callers are refused before anything runs it."""
    (only,) = Improvers([by(answer)]).ask(a_brief()).answers
    assert only.outcome is Outcome.REFUSED
    assert problem in only.problems[0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (5, "it returned int"),
        ({"source": RIGHT}, "it returned dict"),
        (lambda _brief: Proposal(RIGHT, "mine", "text"), "source: str is not bytes"),  # type: ignore[arg-type]
        (lambda _brief: Proposal(b"", "mine", "text", tokens=-1), "tokens: -1 is not"),
        (lambda _brief: Proposal(b"", "mine", "text", cost=float("nan")), "cost: nan is not"),
        (lambda _brief: sys.exit("bye"), "ended with SystemExit"),
    ],
)
def test_what_is_no_answer(answer: Any, says: str) -> None:
    """An answer of another type is a failure that names it, and so is the end that it would have of the process."""
    (only,) = Improvers([by(answer)]).ask(a_brief()).answers
    assert only.outcome is Outcome.FAILED
    assert says in only.problems[0]


def test_an_improver_without_a_function() -> None:
    """An improver of any class may be bad in the same ways."""

    class Bad:
        name = "bad"

        def propose(self, brief: Brief) -> Any:
            return RIGHT

    (only,) = Improvers([Bad()]).ask(a_brief()).answers
    assert only.problems == ("it returned str, and neither a Proposal nor None",)


def test_secrets_are_put_back() -> None:
    """An author works with placeholders, and the candidate has the secrets of the live source again."""
    secret = {"rollguard-secret-1": "hunter2"}
    brief = a_brief(source=f'PASSWORD = "rollguard-secret-1"\n{OLD}', hidden=secret)
    asked = Improvers([by(lambda told: told.source.replace(OLD, RIGHT))]).ask(brief)
    assert asked.proposal is not None
    assert asked.proposal.source.decode() == f'PASSWORD = "hunter2"\n{RIGHT}'
    (same,) = Improvers([by(lambda told: told.source)]).ask(brief).answers
    assert same.problems == ("it changes nothing",)
    (refused,) = Improvers([by(RIGHT)]).ask(brief, lambda _proposal: ["it returns 'hunter2'"]).answers
    assert refused.problems == ("it returns 'rollguard-secret-1'",)
    many = {f"rollguard-secret-{number}": f"hunter{number}" for number in range(1, 12)}
    assert a_brief(hidden=many).restored(" ".join(many).encode()).decode() == " ".join(many.values())


def test_one_alone() -> None:
    """One improver can be asked by its name; a name that there is not, or that two have, is refused."""
    improvers = Improvers([by(None, "one"), by(RIGHT, "two")])
    assert [answer.improver for answer in improvers.ask(a_brief(), only="two").answers] == ["two"]
    with pytest.raises(InvalidInput, match=r"none named 'three'; the known ones are one, two"):
        improvers.ask(a_brief(), only="three")
    with pytest.raises(InvalidInput, match="the settings name none"):
        Improvers().ask(a_brief(), only="three")
    with pytest.raises(InvalidInput, match="the same name"):
        Improvers([by(None), by(None)])
    assert Improvers().propose(a_brief()) is None


def test_a_function_that_takes_an_hour() -> None:
    """Its time over, it is given up and its late answer dropped; until it ends it is not called again."""
    release, ended = threading.Event(), threading.Event()

    def slow(_brief: Brief) -> str:
        release.wait()
        ended.set()
        return RIGHT

    improver = CallableImprover(slow, timeout=0.01)
    with pytest.raises(ImproverFailed, match="took longer than"):
        improver.propose(a_brief())
    with pytest.raises(ImproverFailed, match="still running"):
        improver.propose(a_brief())
    release.set()
    assert ended.wait(60)
    late = improver._in_time._late
    assert late is not None
    late.join()
    quick: Callable[[], Any] = lambda: CallableImprover(lambda _brief: RIGHT, timeout=60).propose(a_brief())  # noqa: E731
    assert quick().source == RIGHT.encode()
