"""Anytime-valid evidence that a deployment fails more often than its finite, fixed baseline.

You may check after every call, and the error does not add up: an unchanged tool is ever called worse with probability
at most `alpha`.

Baseline: nb calls, fb of them failed. Current: n calls, f failed. Once for a session:

1. Confidence levels g_0 = 1 and g_k = 0.7 ((alpha/8) / 0.7)^((k-1)/(K-1)) for k = 1 … K = 20.
2. kappa = 0.1 + 0.4 (log10 nb - 2), kept within 0.05 and 0.75: how the error is spread over the levels.
3. w_k = sqrt(g_k g_{k+1})^(kappa-1), C = sum_k (g_k - g_{k+1}) w_k / (alpha - g_K), and thresholds h_k = C / w_k for
   k = 0 … K-1, so that g_K + sum_k (g_k - g_{k+1}) / h_k = alpha.
4. The Clopper-Pearson bound u_k of the baseline's failure rate: P(Bin(nb, u_k) <= fb) = g_{k+1}; and
   theta_k = min(1, u_k + delta).

At any check, from the counts alone:

5. A bet at each of eight stakes v_j = 0.08 (0.95/0.08)^(j/7), j = 0 … 7, that calls fail more often than theta_k; the
   mean capital is M_k = 1/8 sum_j (1 + v_j (1-theta_k)/theta_k)^f (1 - v_j)^(n-f), and 1 where theta_k = 1.
6. E = 1/alpha min_k M_k / h_k. There is evidence when E >= 1/alpha, which is when every M_k has reached its h_k.

Steps 7 and 8, what follows from evidence, are `rollguard.judge.policy`.

Why it holds: for the true rate q of the baseline P_q(Bin(nb, q) <= fb) is super-uniform. When it lies in
(g_{k+1}, g_k], q < u_k, so M_k is a supermartingale under "no worse", and by Ville's inequality it ever reaches h_k
with probability at most 1/h_k. Summed over k, and with g_K for what lies below, that is alpha, at any number of checks.

Assumes independent baseline calls, and that a healthy version's failure probability, given the past, is at most
q + delta. It cannot by itself tell an outage from a bad release.

References: Ville 1939; Clopper & Pearson 1934; Robbins 1970; Berger & Boos 1994; Howard, Ramdas, McAuliffe & Sekhon
2021; Vovk & Wang 2021; Lindon, Sanden & Shirikian 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

from rollguard.errors import InvalidInput
from rollguard.judge.binomial import clopper_pearson_uppers

_LEVELS = 20  # K
BETS = tuple(0.08 * (0.95 / 0.08) ** (j / 7) for j in range(8))  # v_j
_LOG_KEEP = tuple(math.log1p(-v) for v in BETS)
_BETS_KEPT = tuple(zip(BETS, _LOG_KEEP, strict=True))
_LOGBETS = math.log(len(BETS))


@dataclass(frozen=True)
class Evidence:
    """The test for one session: fixed by the baseline's counts, then applied to the current counts at any time.

    Attributes:
        baseline_calls: nb, executions in the baseline.
        baseline_failures: fb, how many of them failed.
        alpha: bound on the probability of ever calling an unchanged tool worse.
        delta: rise of the failure rate that is forgiven.

    Raises:
        InvalidInput: the counts are invalid (`0 <= failures <= calls` is required), or a setting is out of range.
    """

    baseline_calls: int
    baseline_failures: int
    alpha: float = 0.05
    delta: float = 0.0
    _levels: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_counts("baseline", self.baseline_calls, self.baseline_failures)
        if not 0 < self.alpha < 0.5:
            raise InvalidInput(f"alpha: {self.alpha!r} is not above 0 and below 0.5")
        if not 0 <= self.delta < 1:
            raise InvalidInput(f"delta: {self.delta!r} is not at least 0 and below 1")
        levels = _levels(self.baseline_calls, self.baseline_failures, self.alpha, self.delta)
        object.__setattr__(self, "_levels", levels)

    def log_e(self, calls: float, failures: float) -> float:
        """Return the natural log of the e-value of `failures` in `calls` current executions, uncapped (step 6).

        It is defined between whole numbers too: along a fixed failure rate it rises once it is above 0.

        Raises:
            InvalidInput: the counts are invalid.
        """
        _check_counts("current", calls, failures)
        return _log_e(self.baseline_calls, self.baseline_failures, self.alpha, self.delta, calls, failures)

    @property
    def required(self) -> float:
        """Return the natural log of the e-value at which there is evidence: log(1/alpha)."""
        return -math.log(self.alpha)

    def present(self, calls: int, failures: int) -> bool:
        """Return whether the current counts are evidence that the tool became worse."""
        return self.log_e(calls, failures) >= self.required

    def boundary(self, horizon: int) -> list[int]:
        """Return the fewest failures of n calls that are evidence, for n = 0 … `horizon`; n + 1 if n of n are not.

        It never falls, and rises by at most one a call: a success never adds evidence, a failure never takes any away.
        """
        levels = [(_gains(theta), log_h) for theta, log_h in self._levels]
        fewest = [1]
        f = 0
        while len(fewest) <= horizon:
            f += 1
            start = max(f, len(fewest))
            last = _last_with(levels, f, start, horizon)
            fewest += [f] * (last - start + 1)
            if last < start == f:
                fewest.append(f + 1)
        return fewest


def _check_counts(side: str, calls: float, failures: float) -> None:
    if not 0 <= failures <= calls:
        raise InvalidInput(f"{side} counts need 0 <= failures <= calls, not {failures} of {calls}")


@lru_cache(maxsize=16_384)
def _levels(nb: int, fb: int, alpha: float, delta: float) -> tuple[tuple[float, float], ...]:
    """Return (theta_k, log h_k) for every k, the last one first: steps 1 to 4.

    After many calls the last level is the least, after few the first. With these two in front, most others are skipped.
    """
    # 1. From certainty down to alpha/8.
    g = [1.0] + [0.7 * ((alpha / 8) / 0.7) ** (k / (_LEVELS - 1)) for k in range(_LEVELS)]
    # 2. The more a baseline knows, the more is spent where its bound is near to its rate.
    kappa = 0.05 if nb == 0 else min(0.75, max(0.05, 0.1 + 0.4 * (math.log10(nb) - 2)))
    # 3. So that all errors together are alpha.
    w = [math.sqrt(g[k] * g[k + 1]) ** (kappa - 1) for k in range(_LEVELS)]
    c = sum((g[k] - g[k + 1]) * w[k] for k in range(_LEVELS)) / (alpha - g[_LEVELS])
    # 4. What is forgiven comes on top of what the baseline bounds.
    u = clopper_pearson_uppers(nb, fb, g[:0:-1])[::-1]
    return tuple((min(1.0, u[k] + delta), math.log(c / w[k])) for k in (_LEVELS - 1, *range(_LEVELS - 1)))


@lru_cache(maxsize=16_384)  # of many tools, most are not called between two checks
def _log_e(nb: int, fb: int, alpha: float, delta: float, calls: float, failures: float) -> float:
    """Step 6."""
    least, (v, keep) = math.inf, _BETS_KEPT[0]
    for theta, log_h in _levels(nb, fb, alpha, delta):
        log_m = 0.0
        if theta < 1.0:
            # A mixture is never less than one bet's part of it. Where that is enough, this is not the least level.
            alone = failures * math.log1p(v * (1.0 - theta) / theta) + (calls - failures) * keep
            if alone - _LOGBETS - log_h >= least:
                continue
            terms = _log_bets(theta, calls, failures)
            v, keep = _BETS_KEPT[terms.index(max(terms))]
            log_m = _log_mean(terms)
        least = min(least, log_m - log_h)
    return least - math.log(alpha)


def _log_bets(theta: float, n: float, f: float) -> list[float]:
    """The log of each betting martingale alone."""
    odds, log1p, kept = (1.0 - theta) / theta, math.log1p, n - f
    return [f * log1p(v * odds) + kept * keep for v, keep in _BETS_KEPT]


def _log_mean(terms: list[float]) -> float:
    """Step 5: the log of the mixture of the betting martingales."""
    top, exp = max(terms), math.exp
    return top + math.log(sum([exp(t - top) for t in terms])) - _LOGBETS


Gains = tuple[float, ...] | None  # of one failure, for each bet; None at a level that nothing can speak against


def _gains(theta: float) -> Gains:
    return None if theta >= 1.0 else tuple(math.log1p(v * (1.0 - theta) / theta) for v in BETS)


def _last_with(levels: list[tuple[Gains, float]], f: int, start: int, stop: int) -> int:
    """The most calls, up to `stop`, of which f failures are evidence; start - 1 where they are not of `start`."""
    last, held = stop, 0
    for number, (gains, log_h) in enumerate(levels):
        if gains is None:
            last = last if log_h <= 0.0 else start - 1
        else:
            crossed = _last_crossed([f * gain for gain in gains], log_h + _LOGBETS, f, start, last)
            if crossed < last:
                last, held = crossed, number
        if last < start:
            break
    levels.insert(0, levels.pop(held))  # what held back now most likely does so next time
    return last


def _last_crossed(gained: list[float], required: float, f: int, start: int, stop: int) -> int:
    """The most calls, up to `stop`, of which f failures reach `required`; start - 1 where they do not of `start`.

    At f failures, log M falls with n and is convex, so a step along its tangent never goes too far. It is no less than
    its largest term, with which most levels are done.

    Args:
        gained: what f failures gain, for each bet.
        required: what the log of the sum over the bets has to reach.
    """
    terms = [gain + (stop - f) * keep for gain, keep in zip(gained, _LOG_KEEP, strict=True)]
    top = max(terms)
    if top >= required or top + math.log(sum([math.exp(t - top) for t in terms])) >= required:
        return stop
    n = start
    while n < stop:
        terms = [gain + (n - f) * keep for gain, keep in zip(gained, _LOG_KEEP, strict=True)]
        top = max(terms)
        weights = [math.exp(t - top) for t in terms]
        total = sum(weights)
        spare = top + math.log(total) - required
        if spare < 0.0:
            break
        slope = sum([weight * keep for weight, keep in zip(weights, _LOG_KEEP, strict=True)]) / total
        n += max(1, int(spare / -slope))
    return min(n, stop) - 1
