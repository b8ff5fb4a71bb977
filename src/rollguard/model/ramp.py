"""The state machine of a rollout. Pure: what was found and the present moment in, the next state out.

```mermaid
stateDiagram-v2
    [*] --> ramping
    ramping --> ramping: the stage is over
    ramping --> promoted: the last stage is over
    ramping --> frozen: something speaks against it
    frozen --> ramping: nothing did for as long as a stage lasts
    ramping --> paused: a person
    frozen --> paused: a person
    paused --> ramping: a person
    ramping --> rolled_back: evidence
    frozen --> rolled_back: evidence
    paused --> rolled_back: evidence
    ramping --> unproven: the time limit
    frozen --> unproven: the time limit
    paused --> unproven: the time limit
```

A person may promote or abort it, a newer change may supersede it, and a new version that cannot be loaded fails it,
from each state that has not ended. What has ended never changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Self

from rollguard.errors import InvalidInput
from rollguard.judge import Judgement, RollbackType, Rules


class State(StrEnum):
    """Where a rollout is."""

    RAMPING = "ramping"
    FROZEN = "frozen"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    UNPROVEN = "unproven"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    FAILED = "failed"


SERVING = (State.RAMPING, State.FROZEN, State.PAUSED)
"""The states in which both versions serve."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a rollout.

    Attributes:
        shares: the share of the new version in each stage, rising, above 0 and below 1.
        stage_time: how long a stage lasts at least, and how long nothing may speak against a frozen rollout.
        stage_units: how many units of both versions a stage needs.
        limit: the time after which it ends on the old version unless it was promoted.

    Raises:
        InvalidInput: the stages are invalid.
    """

    shares: tuple[float, ...]
    stage_time: timedelta
    stage_units: int
    limit: timedelta

    @classmethod
    def of(cls, shares: Sequence[float], rules: Rules) -> Self:
        """Return the plan that these rules make of the shares."""
        hours = min(rules.rollout_limit_hours, rules.monitoring_window_hours)
        stage_time = timedelta(minutes=rules.rollout_stage_minutes)
        return cls(tuple(map(float, shares)), stage_time, rules.rollout_stage_units, timedelta(hours=hours))

    def __post_init__(self) -> None:
        rising = all(one < next_ for one, next_ in zip(self.shares, self.shares[1:], strict=False))
        if not (self.shares and rising and self.shares[0] > 0.0 and self.shares[-1] < 1.0):
            raise InvalidInput(f"rollout: {list(self.shares)} are not rising shares above 0 and below 1")
        if self.stage_time <= timedelta(0) or self.stage_units < 1:
            raise InvalidInput("rollout: a stage needs a time above 0 and at least one unit")
        if self.limit <= self.stage_time * len(self.shares):
            raise InvalidInput(
                f"rollout: its limit of {self.limit} does not hold {len(self.shares)} stages of {self.stage_time}; set "
                "rollout_stage_minutes lower, or rollout_limit_hours and monitoring_window_hours higher"
            )


@dataclass(frozen=True, slots=True)
class Signs:
    """What a check found.

    Attributes:
        units: how many units of both versions are counted since the rollout began.
        evidence: whether there is evidence that the new version is worse than the old one beside it.
        suspected: whether there is half of it, or the evidence before and after.
    """

    units: int
    evidence: bool = False
    suspected: bool = False

    @classmethod
    def of(cls, judgement: Judgement) -> Self:
        """Return what a judgement of both versions says.

        Raises:
            InvalidInput: it is a judgement of one version.
        """
        arms = judgement.arms
        if arms is None or not arms.arms.serving:
            raise InvalidInput("a rollout is judged by the counts of both its versions")
        evidence = judgement.rollback_type is RollbackType.CONCURRENT
        return cls(arms.arms.counted, evidence, evidence or arms.suspected or judgement.evidence.present)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rollout at one moment. A change of state is a new one.

    Attributes:
        plan: its stages.
        started_at: when both versions began to serve.
        state: where it is.
        stage: the number of its stage, from 0 on.
        stage_since: since when the time of the stage counts.
        stage_from: how many units were counted when the stage began.
        clear_since: of a frozen one: since when nothing speaks against it.
        ended_at: when it ended.
    """

    plan: Plan
    started_at: datetime
    state: State
    stage: int
    stage_since: datetime
    stage_from: int = 0
    clear_since: datetime | None = None
    ended_at: datetime | None = None
    _plan: ClassVar[type[Plan]] = Plan

    @classmethod
    def start(cls, plan: Plan, now: datetime) -> Self:
        """Return a rollout that begins now."""
        return cls(plan, now, State.RAMPING, 0, now)

    @property
    def ended(self) -> bool:
        """Return whether one version serves alone."""
        return self.state not in SERVING

    @property
    def share(self) -> float:
        """Return the share of the new version: that of the stage until it ends, then all or nothing."""
        if self.ended:
            return 1.0 if self.state is State.PROMOTED else 0.0
        return self.plan.shares[self.stage]

    def after(self, signs: Signs, now: datetime) -> Self:
        """Return the rollout after a check: at most one stage further.

        Evidence ends it first, then the time limit. A paused one only waits for these.
        """
        if self.ended:
            return self
        if signs.evidence:
            return self._end(State.ROLLED_BACK, now)
        if now >= self.started_at + self.plan.limit:
            return self._end(State.UNPROVEN, now)
        if self.state is State.PAUSED:
            return self
        if signs.suspected:
            return replace(self, state=State.FROZEN, clear_since=None)
        thawed = self._thawed(now)
        return thawed._advanced(signs, now) if thawed.state is State.RAMPING else thawed

    def paused(self) -> Self:
        """Return it with its share held until a person resumes it; evidence and the time limit still end it."""
        return replace(self._open("paused"), state=State.PAUSED, clear_since=None)

    def resumed(self, now: datetime) -> Self:
        """Return a paused rollout that goes on; the time of its stage begins again."""
        if self._open("resumed").state is not State.PAUSED:
            raise InvalidInput(f"the rollout is {self.state}; only a paused one can be resumed")
        return replace(self, state=State.RAMPING, stage_since=now)

    def ended_by(self, state: State, now: datetime) -> Self:
        """Return it as ended by a person (promoted, aborted), a newer change (superseded), or a load error (failed).

        Raises:
            InvalidInput: it has ended already, or no one may give it that state.
        """
        if state not in (State.PROMOTED, State.ABORTED, State.SUPERSEDED, State.FAILED):
            raise InvalidInput(f"nobody ends a rollout as {state}")
        return self._open(str(state))._end(state, now)

    def _open(self, wanted: str) -> Self:
        if self.ended:
            raise InvalidInput(f"the rollout has ended as {self.state} and cannot be {wanted}")
        return self

    def _end(self, state: State, now: datetime) -> Self:
        return replace(self, state=state, clear_since=None, ended_at=now)

    def _thawed(self, now: datetime) -> Self:
        """Return a frozen rollout as ramping, if nothing spoke against it for as long as a stage lasts."""
        if self.state is not State.FROZEN:
            return self
        clear = self.clear_since or now
        if now - clear < self.plan.stage_time:
            return replace(self, clear_since=clear)
        return replace(self, state=State.RAMPING, stage_since=clear, clear_since=None)

    def _advanced(self, signs: Signs, now: datetime) -> Self:
        lasted, counted = now - self.stage_since, signs.units - self.stage_from
        if lasted < self.plan.stage_time or counted < self.plan.stage_units:
            return self
        if self.stage + 1 == len(self.plan.shares):
            return self._end(State.PROMOTED, now)
        return replace(self, stage=self.stage + 1, stage_since=now, stage_from=signs.units)

    def to_dict(self) -> dict[str, Any]:
        """Return the rollout as a JSON-safe mapping."""
        moments = {name: None if (at := getattr(self, name)) is None else at.isoformat() for name in _MOMENTS}
        plan = asdict(self.plan) | {name: getattr(self.plan, name).total_seconds() for name in _TIMES}
        kept = {"state": str(self.state), "stage": self.stage, "stage_from": self.stage_from}
        return {"plan": plan | {"shares": list(self.plan.shares)}, **kept, **moments}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return the rollout that `to_dict` wrote."""
        times = {name: timedelta(seconds=kept["plan"][name]) for name in _TIMES}
        plan = cls._plan(**{**kept["plan"], **times, "shares": tuple(kept["plan"]["shares"])})
        moments = {name: None if kept[name] is None else datetime.fromisoformat(kept[name]) for name in _MOMENTS}
        return cls(**{**kept, **moments, "plan": plan, "state": State(kept["state"])})


_MOMENTS = ("started_at", "stage_since", "clear_since", "ended_at")
_TIMES = ("stage_time", "limit")
