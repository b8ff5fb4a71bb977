"""The settings of a tool's rehearsal: `[tools.NAME.rehearse]` of `rollguard.toml`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RehearsalRules(BaseModel):
    """How two results are compared, what the tool is, and what a candidate may not do.

    Attributes:
        tolerance: numbers that differ by at most this share are equal.
        ignore: paths of a result that are not compared, such as `items[*].fetched_at`; `**` stands for any steps.
        unordered: paths of lists whose order does not matter; `$` is the result itself.
        read_only, idempotent, side_effects: what the tool is, if its code does not say it.
        grants: the variables of the environment, and the hosts, that the tool may use in a rehearsal.
        max_replays: the most recorded calls that are run again.
        min_replays: with fewer recorded calls a person decides.
        max_changed_lines: the most lines that a candidate may add and remove.
        forbidden_imports: modules that a candidate may not import unless the live version does.
        forbidden_paths: texts, such as `/etc`, that no new text of a candidate may begin with.
        seconds: the time for one call.
        unwitnessed: what happens if nothing but the candidate says what a fixed call should return.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    tolerance: float = Field(default=0.0, ge=0, le=1)
    ignore: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()
    read_only: bool | None = None
    idempotent: bool | None = None
    side_effects: tuple[str, ...] | None = None
    grants: tuple[str, ...] = ()
    max_replays: int = Field(default=50, ge=1, le=10_000)
    min_replays: int = Field(default=10, ge=1, le=10_000)
    max_changed_lines: int = Field(default=200, ge=1, le=100_000)
    forbidden_imports: tuple[str, ...] = ()
    forbidden_paths: tuple[str, ...] = ()
    seconds: float = Field(default=10.0, gt=0, le=600)
    unwitnessed: Literal["ask", "pass"] = "ask"
