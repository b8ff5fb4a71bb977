"""The confirmation of a deployment: the version before serves half of the calls, for a bounded time. Pure.

The evidence rule would roll the live version back, and an outage may be the cause. So both versions serve until their
comparison decides. If the old version fails more than before as well, it serves alone for a few calls: if it goes on
failing with the new version off, the cause is external.

```mermaid
stateDiagram-v2
    [*] --> sharing
    sharing --> rolled_back: evidence
    sharing --> unproven: the bound
    sharing --> alone: the old version fails more than before, too
    alone --> unproven: and goes on failing, so the cause is external
    alone --> sharing: it does not
```

In the table of rollouts both are `ramping`, in the stages `ALONE` and `SHARING`. A person may pause or abort it, and a
newer change supersedes it, as any other rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Self

from rollguard.errors import InvalidInput
from rollguard.judge import Arms, Judgement, RollbackType, Rules, fails_alone
from rollguard.model.ramp import Plan, Ramp, Signs, State

ALONE, SHARING = 0, 1
ALONE_UNITS = 20  # of the old version alone: so many without evidence, and the new one serves again

BOUND = "both versions served side by side up to the bound, without an answer"
EXTERNAL = "the version before fails more than it did, too, also with the new version off: the cause is external"


@dataclass(frozen=True, slots=True)
class ConfirmPlan(Plan):
    """The stages of a confirmation: the old version alone, and half of the calls for each.

    Attributes:
        stage_units: how many units of both versions it may take.
        limit: how long it may take.
    """

    def __post_init__(self) -> None:
        """Accept these stages, which no ramp has."""

    @classmethod
    def by(cls, rules: Rules) -> Self:
        """Return the plan that these rules make."""
        limit = timedelta(minutes=rules.confirm_minutes)
        return cls((0.0, 0.5), limit, rules.confirm_calls, limit)


@dataclass(frozen=True, slots=True)
class ConfirmSigns(Signs):
    """What a check of a confirmation found.

    Attributes:
        old_fails: whether the old version fails more than before while both serve.
        alone: how many units the old version had alone.
        alone_fails: whether it fails more than before in these.
    """

    old_fails: bool = False
    alone: int = 0
    alone_fails: bool = False

    @classmethod
    def of(cls, judgement: Judgement) -> Self:
        """Return what a judgement of both versions says."""
        found = judgement.arms
        if found is None or not found.arms.serving:
            raise InvalidInput("a confirmation is judged by the counts of both versions")
        arms, rules = found.arms, judgement.rules
        baseline, both = (arms.baseline_calls, arms.baseline_failures), arms.total
        units, failures = old_alone(arms)
        return cls(
            arms.counted,
            judgement.rollback_type is RollbackType.CONCURRENT,
            old_fails=fails_alone(rules, baseline, both.old_units, both.old_failures),
            alone=units,
            alone_fails=fails_alone(rules, baseline, units, failures),
        )


@dataclass(frozen=True, slots=True)
class Confirming(Ramp):
    """A confirmation at one moment. `stage_from` is how many units were counted when it began."""

    @classmethod
    def begin(cls, rules: Rules, counted: int, now: datetime) -> Self:
        """Return a confirmation that begins now.

        Args:
            counted: the units that are counted of earlier ones of the same session.
        """
        return cls(ConfirmPlan.by(rules), now, State.RAMPING, SHARING, now, counted)

    _plan: ClassVar[type[Plan]] = ConfirmPlan

    @property
    def share(self) -> float:
        """Return the share of the new version. It serves alone again if nothing was confirmed."""
        if self.ended:
            return 0.0 if self.state is State.ROLLED_BACK else 1.0
        return self.plan.shares[self.stage]

    def after(self, signs: Signs, now: datetime) -> Self:
        """Return the confirmation after a check. Evidence ends it first, then the bound."""
        if self.ended:
            return self
        if signs.evidence:
            return self._end(State.ROLLED_BACK, now)
        if not isinstance(signs, ConfirmSigns):
            return self
        if self._is_external(signs) or self._at_bound(signs, now):
            return self._end(State.UNPROVEN, now)
        enough = signs.alone >= ALONE_UNITS
        over = enough if self.stage == ALONE else signs.old_fails and not enough
        if self.state is State.PAUSED or not over:
            return self
        return replace(self, stage=SHARING if self.stage == ALONE else ALONE, stage_since=now)

    def why(self, signs: Signs) -> str:
        """Return why it ended without evidence."""
        return EXTERNAL if isinstance(signs, ConfirmSigns) and self._is_external(signs) else BOUND

    def _is_external(self, signs: ConfirmSigns) -> bool:
        return self.stage == ALONE and signs.alone_fails

    def _at_bound(self, signs: Signs, now: datetime) -> bool:
        return now >= self.started_at + self.plan.limit or signs.units - self.stage_from >= self.plan.stage_units


def old_alone(arms: Arms) -> tuple[int, int]:
    """Return the units and failures of the old version while the new one was off."""
    alone = [stage for stage in arms.stages if stage.share == 0.0]
    return sum(stage.old_units for stage in alone), sum(stage.old_failures for stage in alone)


def continued(arms: Arms | None) -> Arms | None:
    """Return the counts with which a later confirmation of the same session goes on: one e-value, never restarted.

    The units of the old version alone say nothing of the comparison; they are counted anew.
    """
    if arms is None:
        return None
    return replace(arms, stages=tuple(stage for stage in arms.stages if stage.share > 0.0), serving=True)
