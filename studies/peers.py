"""Other projects' rules, for the studies only, as their documentation and source describe them.

Two simplifications favour all of them. All calls since the deployment are the new version's, while a canary gets only
a share. Rules that compare with a control group get one of the same size, called at the same time. Rollguard has no
such group: it compares with the time before the deployment.

These rules are designed for rollouts of minutes to hours. Here each runs as long as Rollguard monitors, unless its own
rules end it.

Sources, as of July to August 2026 (Kayenta's: April 2025), in the projects' own repositories:

* Argo Rollouts (argoproj/argo-rollouts): docs/features/analysis.md, analysis/analysis.go
* Flagger (fluxcd/flagger): docs/gitbook/usage/deployment-strategies.md and metrics.md, pkg/controller/scheduler.go,
  pkg/controller/scheduler_metrics.go, pkg/metrics/providers/prometheus.go
* Kayenta (spinnaker/kayenta): docs/canary-config.md, docs/kayenta-standalone.md, json-formats.md,
  NetflixACAJudge.scala, MannWhitneyClassifier.scala, MannWhitney.scala
* GrowthBook (growthbook/growthbook): docs/statistics/sequential.mdx, docs/features/safe-rollouts.mdx,
  gbstats/frequentist/tests.py, whose formula is equation 134 of Waudby-Smith et al. 2023, "Time-uniform central limit
  theory and asymptotic confidence sequences", https://arxiv.org/abs/2103.06476
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from rollguard.evaluate.simulate_counts import Act
from rollguard.evaluate.traffic import Call

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Minutes:
    """Calls and failures of each minute since the deployment."""

    calls: tuple[int, ...]
    failures: tuple[int, ...]

    @classmethod
    def of(cls, stream: Sequence[Call], minutes: int) -> Minutes:
        """Count the calls of a stream by the minute. Every call counts, because none of these rules knows requests."""
        calls, failures = [0] * minutes, [0] * minutes
        for call in stream:
            minute = int(call.at // MINUTE)
            if 0 <= minute < minutes:
                calls[minute] += 1
                failures[minute] += not call.succeeded
        return cls(tuple(calls), tuple(failures))

    def __len__(self) -> int:
        return len(self.calls)

    def act(self, minute: int) -> Act:
        """Return a rollback after this number of minutes."""
        return Act(minute * MINUTE, sum(self.calls[:minute]))

    def success(self, start: int, end: int) -> float | None:
        """Return the success rate of the minutes from `start` up to `end`; None without calls."""
        calls = sum(self.calls[start:end])
        return 1.0 - sum(self.failures[start:end]) / calls if calls else None


def argo(canary: Minutes, *, least: float = 0.95, interval: int = 5, failure_limit: int = 3) -> Act | None:
    """Apply Argo Rollouts' rule: the analysis `success-rate` of its documentation, in the background.

    Every 5 minutes the success rate of the last 5 has to be `least` or more. The run fails when more than
    `failure_limit` measurements failed. Simplified: the rate is that of all calls of the 5 minutes, while the
    documented query takes `irate`, the last two samples. Minutes without calls are no measurement, while in Argo
    Rollouts they are an error, and five errors in a row end the analysis.
    """
    failed = 0
    for end in range(interval, len(canary) + 1, interval):
        rate = canary.success(end - interval, end)
        failed += rate is not None and rate < least
        if failed > failure_limit:
            return canary.act(end)
    return None


def flagger(canary: Minutes, *, least: float = 0.99, threshold: int = 10, steps: int = 25) -> Act | None:
    """Apply Flagger's rule: the canary release of its documentation, with the built-in `request-success-rate`.

    Every minute the success rate of the last one has to be `least` or more, else the check failed and the canary stays
    at its weight. `threshold` failed checks, in a row or not, roll back. `steps` good ones (maxWeight / stepWeight)
    promote and end the checks. Without calls there is no value, and the check fails. Simplified: all calls go to the
    canary from the beginning, while Flagger begins with 2 %.
    """
    failed = good = 0
    for end in range(1, len(canary) + 1):
        rate = canary.success(end - 1, end)
        if rate is None or rate < least:
            failed += 1
        else:
            good += 1
        if failed >= threshold:
            return canary.act(end)
        if good >= steps:
            return None
    return None


def growthbook(
    canary: Minutes, control: Minutes, *, alpha: float = 0.05, tuning: float = 5000.0, interval: int = 60
) -> Act | None:
    """Apply GrowthBook's rule: a safe rollout with the failure rate as its guardrail, checked every hour.

    It fails when the lower bound of the one-sided asymptotic confidence sequence of the difference is above 0. As in
    GrowthBook, there is no result while a group has no variance. Simplified: each call is a unit, while GrowthBook
    assigns and counts users; the default refresh of several hours is an hour.
    """
    rho = math.sqrt((-2.0 * math.log(2.0 * alpha) + math.log(-2.0 * math.log(2.0 * alpha) + 1.0)) / tuning)
    for end in range(interval, len(canary) + 1, interval):
        n_b, n_a = sum(canary.calls[:end]), sum(control.calls[:end])
        if not n_a or not n_b:
            continue
        p_b, p_a = sum(canary.failures[:end]) / n_b, sum(control.failures[:end]) / n_a
        if not 0.0 < p_a < 1.0 or not 0.0 < p_b < 1.0:
            continue
        n = n_a + n_b
        s2 = n * (p_a * (1.0 - p_a) / n_a + p_b * (1.0 - p_b) / n_b)
        spread = n * rho**2 + 1.0
        half = math.sqrt(s2 * 2.0 * spread / (n * rho) ** 2 * math.log1p(math.sqrt(spread) / (2.0 * alpha)))
        if p_b - p_a - half > 0.0:
            return canary.act(end)
    return None


def gbstats_bound(
    control: tuple[int, int], canary: tuple[int, int], *, alpha: float = 0.05, tuning: float = 5000.0
) -> float | None:
    """Return the lower bound of the difference of the failure rates in GrowthBook's package; None without a variance.

    It is that of `SequentialTwoSidedTTest` of gbstats 0.8.0 (gbstats/frequentist/tests.py) at twice alpha. The package
    itself needs pandas below 2, which no longer installs beside the rest.

    Args:
        control, canary: calls and failures.
    """
    (n_a, f_a), (n_b, f_b), level = control, canary, 2.0 * alpha
    if not 0 < f_a < n_a or not 0 < f_b < n_b:
        return None
    p_a, p_b, n = f_a / n_a, f_b / n_b, n_a + n_b
    rho = math.sqrt((-2.0 * math.log(level) + math.log(-2.0 * math.log(level) + 1.0)) / tuning)
    s2 = n * (p_a * (1.0 - p_a) / n_a + p_b * (1.0 - p_b) / n_b)
    spread = n * rho**2 + 1.0
    return p_b - p_a - math.sqrt(s2 * 2.0 * spread * math.log(math.sqrt(spread) / level) / (n * rho) ** 2)


def kayenta(canary: Minutes, control: Minutes, *, interval: int = 60) -> Act | None:
    """Apply Kayenta's rule: a standalone canary analysis of the failure rate of each minute, judged every hour.

    Its judge (NetflixACAJudge) calls the metric High when the lower end of the 98 % confidence interval of the
    Mann-Whitney U test lies above a quarter of the estimate, and the mean did not fall; then the score of this single
    metric is 0, below any marginal score, and the canary ends. `direction` is `increase`, `nanStrategy` `remove`, the
    effect sizes are the defaults. Each hour judges all minutes since the beginning. Simplified: no Gaussian noise is
    added where all values are the same, which is a pass.
    """
    for end in range(interval, len(canary) + 1, interval):
        experiment, base = _rates(canary, end), _rates(control, end)
        if experiment and base and _is_high(experiment, base):
            return canary.act(end)
    return None


def _rates(group: Minutes, end: int) -> list[float]:
    return [f / n for n, f in zip(group.calls[:end], group.failures[:end], strict=True) if n]


def _is_high(experiment: list[float], control: list[float], tolerance: float = 0.25, level: float = 0.98) -> bool:
    if len({*experiment, *control}) == 1 or sorted(experiment) == sorted(control):
        return False
    quantile = NormalDist().inv_cdf(1.0 - (1.0 - level) / 2.0)
    if _standardised(0.0, experiment, control) <= quantile:
        return False  # the interval reaches 0 or below
    lower = _root(quantile, experiment, control)
    estimate = _root(0.0, experiment, control)
    mean_before, mean = sum(control) / len(control), sum(experiment) / len(experiment)
    effect = mean / mean_before if mean_before and mean else math.nan
    return lower > tolerance * abs(estimate) and (math.isnan(effect) or effect >= 1.0)


def _root(quantile: float, x: list[float], y: list[float]) -> float:
    """Return the shift at which the standardised U equals the quantile; U falls with the shift."""
    low, high = min(x) - max(y), max(x) - min(y)
    if _standardised(low, x, y) <= quantile:
        return low
    if _standardised(high, x, y) >= quantile:
        return high
    while high - low > 1e-4:  # the tolerance of Kayenta's solver
        middle = (low + high) / 2.0
        low, high = (middle, high) if _standardised(middle, x, y) > quantile else (low, middle)
    return low


def _standardised(shift: float, x: list[float], y: list[float]) -> float:
    """Return the standardised U of x - shift against y, with the corrections for ties and continuity."""
    # Few different values occur, so they are ranked with their counts.
    first, second = Counter(round(value - shift, 12) for value in x), Counter(round(value, 12) for value in y)
    below, u, ties = 0, 0.0, 0
    n, m = len(x), len(y)
    for value in sorted({*first, *second}):
        mine, theirs = first[value], second[value]
        u += mine * (below + theirs / 2.0)
        below += theirs
        ties += (mine + theirs) ** 3 - (mine + theirs)
    deviation = math.sqrt(n * m / 12.0 * (n + m + 1 - ties / ((n + m) * (n + m - 1))))
    if deviation == 0.0:
        return 0.0
    z = u - n * m / 2.0
    return (z - math.copysign(0.5, z) * (z != 0.0)) / deviation
