"""A reason why a candidate does not pass: what is wrong, and how much that decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Weight(StrEnum):
    """What a reason decides."""

    REFUSE = "refuse"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a candidate does not pass by itself.

    Attributes:
        weight: whether the gate refuses, or a person decides.
        check: the name of the check, such as `broken`.
        text: what was found, in words.
        held_out: whether calls that were held out say so; then a candidate's author learns no more than that.
    """

    weight: Weight
    check: str
    text: str
    held_out: bool = False

    def __str__(self) -> str:
        return self.text


def refuse(check: str, text: str, *, held_out: bool = False) -> Reason:
    """Return a reason to refuse."""
    return Reason(Weight.REFUSE, check, text, held_out)


def ask(check: str, text: str, *, held_out: bool = False) -> Reason:
    """Return a reason why a person decides."""
    return Reason(Weight.ASK, check, text, held_out)
