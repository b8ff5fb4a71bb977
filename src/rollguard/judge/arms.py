"""Count the units of both arms: in the order drawn, once, with a final outcome. Pure.

A unit is a call or, if calls name a request, the request: its arm is drawn once, and its last outcome counts once. A
call's outcome is final when it ends, a request's when its time limit is over. A unit without an outcome by its limit
has failed. A unit counts for the arm that was drawn, whatever ran.

A unit is counted only after all units that were drawn before it, and nothing that was counted changes later. Otherwise
the time that an outcome takes could make evidence: successes counted after failures do so with a probability of up to
0.82, a retry that changes a counted unit with one of up to 0.11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from rollguard.judge.concurrent import ConcurrentEvidence, Stage


@dataclass(frozen=True, slots=True)
class Unit:
    """A call or a request whose arm was drawn.

    Attributes:
        drawn_at: when its arm was drawn.
        share: the probability with which it was given to the new version.
        new: whether the new version was drawn.
        ends: when each of its calls ended, and whether it succeeded, in the order of their ends.
        request: whether it is a request, so that more calls may follow.
    """

    drawn_at: datetime
    share: float
    new: bool
    ends: tuple[tuple[datetime, bool], ...] = ()
    request: bool = False

    def outcome(self, now: datetime, limit: timedelta) -> bool | None:
        """Return whether it succeeded; None if that is not final yet.

        Args:
            limit: the time after its draw at which it has failed unless it succeeded before.
        """
        closes = self.drawn_at + limit
        known = [success for ended, success in self.ends if ended < closes]
        if now >= closes:
            return bool(known) and known[-1 if self.request else 0]
        return known[0] if known and not self.request else None


@dataclass(frozen=True, slots=True)
class Arms:
    """What is counted of two versions that serve at once. It begins empty, and grows with `and_units`.

    Attributes:
        baseline_calls, baseline_failures: the baseline's counts when the first unit was drawn; they place the bets.
        stages: the counts of both arms for each share.
        serving: whether both versions still serve; if not, the new one serves alone.
        confirms: whether they confirm what the evidence rule found of a deployment that was live before.
    """

    baseline_calls: int
    baseline_failures: int
    stages: tuple[Stage, ...] = ()
    serving: bool = True
    confirms: bool = False

    @property
    def counted(self) -> int:
        """Return how many units are counted: those that were drawn first."""
        return sum(stage.new_units + stage.old_units for stage in self.stages)

    @property
    def total(self) -> Stage:
        """Return the counts of both arms over all shares that say something; its own share is that of the units."""
        used = [stage for stage in self.stages if 0.0 < stage.share < 1.0]
        new, old = (sum(stage.new_units for stage in used), sum(stage.old_units for stage in used))
        new_failures, old_failures = sum(s.new_failures for s in used), sum(s.old_failures for s in used)
        return Stage(new / (new + old) if used else 0.0, new, new_failures, old, old_failures)

    def and_units(self, units: Iterable[Unit], now: datetime, limit: timedelta) -> Self:
        """Return the counts with the next units that are final, up to the first one that is not.

        Args:
            units: the units after those that are counted, in the order drawn.
            limit: see `Unit.outcome`.
        """
        stages = {stage.share: stage for stage in self.stages}
        for unit in units:
            success = unit.outcome(now, limit)
            if success is None:
                break
            _share, new, new_failures, old, old_failures = stages.get(unit.share, Stage(unit.share, 0, 0, 0, 0))
            arm = (1, int(not success), 0, 0) if unit.new else (0, 0, 1, int(not success))
            stages[unit.share] = Stage(
                unit.share, new + arm[0], new_failures + arm[1], old + arm[2], old_failures + arm[3]
            )
        return replace(self, stages=tuple(stages.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as a JSON-safe mapping, for the decision record."""
        return {
            "baseline": [self.baseline_calls, self.baseline_failures],
            "stages": [list(stage) for stage in self.stages],
            "serving": self.serving,
        } | ({"confirms": True} if self.confirms else {})

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the counts that `to_dict` wrote."""
        calls, failures = kept["baseline"]
        stages = tuple(Stage(*stage) for stage in kept["stages"])
        return cls(calls, failures, stages, kept["serving"], kept.get("confirms", False))


@dataclass(frozen=True, slots=True)
class ArmsFound:
    """The result of the concurrent rule. `log_e` and `required` are natural logs."""

    arms: Arms
    alpha: float
    log_e: float
    required: float

    @classmethod
    def of(cls, arms: Arms, alpha: float) -> Self:
        """Test the counts of both arms.

        Args:
            alpha: bound on the probability that a version that is no worse is ever called worse.
        """
        test = ConcurrentEvidence(arms.baseline_calls, arms.baseline_failures, alpha)
        return cls(arms, alpha, test.log_e(arms.stages), test.required)

    @property
    def present(self) -> bool:
        """Return whether there is evidence that the new version is worse."""
        return self.log_e >= self.required

    @property
    def suspected(self) -> bool:
        """Return whether there is half the evidence, on the log scale: that freezes a ramp."""
        return self.log_e >= self.required / 2
