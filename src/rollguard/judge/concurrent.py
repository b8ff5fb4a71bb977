"""Anytime-valid evidence that a new version fails more often than the old one that serves beside it.

Each unit (a call, or the request that calls are made for) is given to the new version with a known probability r, to
the old one with 1 - r. Whatever happens to the world happens to both, so an outage is no evidence. Per stage the counts
are n1, f1 (units and failures of the new version) and n0, f0 (of the old one), at the stage's share r.

1. Failure rates q_i = 1 / (1 + exp(-x_i)) of the old version, x_i = -7 + 14 i/27, i = 0 … 27; odds ratios c in
   {2, 4, 10, 30} of the new one to it: q' has the odds c q/(1-q). m = r q' + (1-r) q.
2. One unit multiplies the capital by q'/m (new, failed), (1-q')/(1-m) (new, succeeded), q/m (old, failed) or
   (1-q)/(1-m) (old, succeeded).
3. A prior over the rates from the baseline (nb calls, fb failures): 0.9 of it proportional to
   q^(fb+1/2) (1-q)^(nb-fb+1/2), 0.1 of it uniform; uniform over c.
4. E = the prior's mean, over all (q, c), of the product over stages of
   (q'/m)^f1 ((1-q')/(1-m))^(n1-f1) (q/m)^f0 ((1-q)/(1-m))^(n0-f0). Stages with r = 0 or r = 1 contribute nothing.
   There is evidence when E >= 1/alpha.

Why it holds: given the past, let the unit fail with probability p1 on the new version and p0 on the old. If
p1 = p0 = p, its expected factor is p (r q' + (1-r) q)/m + (1-p) (r (1-q') + (1-r) (1-q))/(1-m) = 1, whatever p is and
however it moves. The factor rises with p1, since q' > q, so for p1 <= p0 its mean is at most 1. Each product is then a
supermartingale, so is their mean, and by Ville's inequality E ever reaches 1/alpha with probability at most alpha: at
any number of checks, through outages, daily patterns, deployments elsewhere, and shares that depend on the past.

Not worse by more than d (`NotWorse`): bet with odds ratios 1/2, 1/4 and 1/10 instead. With f' = q'/m and
s' = (1-q')/(1-m), the expected factor is 1 at p1 = p0 as above, and its slope in p1 is -r (s' - f'), which is below 0
since q' < m < q. So for every p1 >= p0 + d it is at most 1 - r d (s' - f'). This lies above 0, because
r (s' - f') < r (1-q')/(1-m) < 1. Divided by it, each unit's factor has a mean of at most 1, and the rest follows as
above. It is another error, with an alpha of its own.

Assumes that the arm of each unit is drawn by chance with the recorded share, which is chosen before the draw. Assumes
that a version that is no worse has, at each moment, a failure probability that is not above the old one's. Units are
counted as `rollguard.judge.units` counts them. The baseline only chooses where the bets are placed, and must be fixed
before the first unit: a wrong one costs time, never validity. It cannot use traffic that somebody else routes.

References: Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021; Lindon & Malek 2022, *Anytime-Valid
Inference for Multinomial Count Data*; Turner & Grünwald 2023, *Safe Sequential Testing and Effect Estimation in
Stratified Count Data*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

from rollguard.errors import InvalidInput

_RATES = tuple(1.0 / (1.0 + math.exp(-(-7.0 + 14.0 * i / 27.0))) for i in range(28))  # q_i
_INFORMED = 0.9  # the part of the prior that the baseline places

_Logs = tuple[float, float, float, float]
"""The log of a unit's factor: new and failed, new and succeeded, old and failed, old and succeeded."""


class Stage(NamedTuple):
    """The counts of both arms at one share."""

    share: float
    """The probability r with which the new version was given a unit."""
    new_units: int
    new_failures: int
    old_units: int
    old_failures: int


@dataclass(frozen=True)
class _ArmTest:
    """What both tests have in common: the prior, the mixture, and what is refused."""

    baseline_calls: int
    baseline_failures: int
    alpha: float = 0.05
    _prior: tuple[float, ...] = field(init=False, repr=False, compare=False)

    _odds: ClassVar[tuple[float, ...]]

    def __post_init__(self) -> None:
        if not 0 <= self.baseline_failures <= self.baseline_calls:
            raise InvalidInput(
                f"baseline counts need 0 <= failures <= calls, not {self.baseline_failures} of {self.baseline_calls}"
            )
        if not 0 < self.alpha < 1:
            raise InvalidInput(f"alpha: {self.alpha!r} is not above 0 and below 1")
        object.__setattr__(self, "_prior", _log_prior(self.baseline_calls, self.baseline_failures))

    def log_e(self, stages: Iterable[tuple[float, int, int, int, int]]) -> float:
        """Return the natural log of the e-value of stages of (r, n1, f1, n0, f0), uncapped (step 4).

        Raises:
            InvalidInput: a share or a count is invalid.
        """
        counted = [_checked(Stage(*stage)) for stage in stages]
        used = [(stage, self._logs(stage.share)) for stage in counted if 0.0 < stage.share < 1.0]
        terms = [
            prior + math.fsum(_log_product(stage, logs[i][c]) for stage, logs in used)
            for i, prior in enumerate(self._prior)
            for c in range(len(self._odds))
        ]
        top = max(terms)
        return top + math.log(math.fsum(math.exp(term - top) for term in terms)) - math.log(len(self._odds))

    def _logs(self, share: float) -> tuple[tuple[_Logs, ...], ...]:
        return _log_factors(share, self._odds, 0.0)

    @property
    def required(self) -> float:
        """Return the natural log of the e-value at which there is evidence: log(1/alpha)."""
        return -math.log(self.alpha)

    def present(self, stages: Iterable[tuple[float, int, int, int, int]]) -> bool:
        """Return whether the counts of the stages are evidence."""
        return self.log_e(stages) >= self.required


@dataclass(frozen=True)
class ConcurrentEvidence(_ArmTest):
    """The test that the new version is worse than the old one beside it.

    Attributes:
        baseline_calls: nb, executions in the baseline.
        baseline_failures: fb, how many of them failed.
        alpha: bound on the probability of ever calling a version worse that at each moment is not.

    Raises:
        InvalidInput: the counts are invalid (`0 <= failures <= calls` is required), or alpha is out of range.
    """

    _odds = (2.0, 4.0, 10.0, 30.0)


@dataclass(frozen=True)
class NotWorse(_ArmTest):
    """The test that the new version is not worse than the old one beside it by `margin` or more.

    Attributes:
        baseline_calls: nb, executions in the baseline.
        baseline_failures: fb, how many of them failed.
        alpha: bound on the probability of ever denying that a version is worse by the margin at each moment.
        margin: d, the difference of the failure rates that matters, above 0 and at most 1.

    Raises:
        InvalidInput: the counts are invalid (`0 <= failures <= calls` is required), or a setting is out of range.
    """

    margin: float = 0.15

    _odds = (1 / 2, 1 / 4, 1 / 10)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.margin <= 1:
            raise InvalidInput(f"margin: {self.margin!r} is not above 0 and at most 1")

    def _logs(self, share: float) -> tuple[tuple[_Logs, ...], ...]:
        return _log_factors(share, self._odds, self.margin)


def _checked(stage: Stage) -> Stage:
    if not 0.0 <= stage.share <= 1.0:
        raise InvalidInput(f"share: {stage.share!r} is not at least 0 and at most 1")
    if not (0 <= stage.new_failures <= stage.new_units and 0 <= stage.old_failures <= stage.old_units):
        raise InvalidInput(f"the counts of an arm need 0 <= failures <= units, not {tuple(stage)}")
    return stage


def _log_product(stage: Stage, logs: _Logs) -> float:
    _share, n1, f1, n0, f0 = stage
    new_failed, new_succeeded, old_failed, old_succeeded = logs
    return f1 * new_failed + (n1 - f1) * new_succeeded + f0 * old_failed + (n0 - f0) * old_succeeded


@lru_cache(maxsize=1_024)
def _log_prior(nb: int, fb: int) -> tuple[float, ...]:
    """Return the log of the prior of each rate: step 3."""
    informed = [(fb + 0.5) * math.log(q) + (nb - fb + 0.5) * math.log1p(-q) for q in _RATES]
    top = max(informed)
    weights = [math.exp(log - top) for log in informed]
    total, uniform = math.fsum(weights), (1.0 - _INFORMED) / len(_RATES)
    return tuple(math.log(_INFORMED * weight / total + uniform) for weight in weights)


@lru_cache(maxsize=1_024)
def _log_factors(share: float, odds: Sequence[float], margin: float) -> tuple[tuple[_Logs, ...], ...]:
    """Return the logs of a unit's factors for each rate and odds ratio: steps 1 and 2.

    Args:
        margin: d of `NotWorse`; 0 divides by nothing.
    """
    return tuple(tuple(_one_bet(share, q, ratio, margin) for ratio in odds) for q in _RATES)


def _one_bet(r: float, q: float, ratio: float, margin: float) -> _Logs:
    new = ratio * q / (1.0 - q + ratio * q)  # q', whose odds are c q / (1 - q)
    m = r * new + (1.0 - r) * q
    failed, succeeded = new / m, (1.0 - new) / (1.0 - m)
    divided = math.log1p(-r * margin * (succeeded - failed)) if margin else 0.0
    return (
        math.log(failed) - divided,
        math.log(succeeded) - divided,
        math.log(q / m) - divided,
        math.log((1.0 - q) / (1.0 - m)) - divided,
    )
