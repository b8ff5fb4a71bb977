"""There is one rule: every path decides as `judge`, and `judge` by the published rule."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import pytest

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.evaluate.boundaries import lines_of
from rollguard.evaluate.replay_history import History, replay_history
from rollguard.evaluate.simulate_counts import replay as play
from rollguard.evaluate.traffic import Call
from rollguard.judge import Counts, Evidence, Outcome, Rules, Window, differences, judge, may_act, replay
from tests.conftest import NOW, code

MINUTE = timedelta(minutes=1)
RULES = [
    Rules(
        decision=decision,
        fast_triggers=triggers,
        rollback_on_slowdown=slowdown,
        min_executions=least,
        regression_threshold=threshold,
        alpha=alpha,
        delta=delta,
    )
    for decision in ("threshold", "evidence")
    for triggers in ("with_evidence", "alone", "off")
    for slowdown in (False, True)
    for least in (3, 10)
    for threshold, alpha, delta in ((0.15, 0.05, 0.0), (0.35, 0.3, 0.02))
]
BASELINES = [(0, 0), (3, 0), (3, 2), (9, 1), (10, 0), (10, 5), (10, 10), (40, 2), (200, 10)]
CALLS = range(13)


@dataclass(frozen=True)
class Case:
    """One point of the grid."""

    nb: int
    fb: int
    n: int
    f: int
    run: bool

    @cached_property
    def baseline(self) -> Window:
        return Window(self.nb, self.nb - self.fb)

    @cached_property
    def current(self) -> Window:
        return Window(self.n, self.n - self.f)

    @cached_property
    def calls(self) -> list[bool]:
        """Whether each call succeeded: all failures last, or none three in a row where that can be."""
        good, bad = self.n - self.f, self.f
        if self.run:
            return [True] * good + [False] * bad
        calls: list[bool] = []
        while good or bad:
            two = min(2, bad)
            calls += [False] * two + [True] * min(1, good)
            good, bad = max(0, good - 1), bad - two
        return calls

    @cached_property
    def has_run(self) -> bool:
        return any(not any(self.calls[i : i + 3]) for i in range(self.n - 2))

    @cached_property
    def _outcomes(self) -> list[Outcome]:
        return [Outcome(NOW + timedelta(seconds=i), ok) for i, ok in enumerate(self.calls)]

    def outcomes(self) -> list[Outcome]:
        return self._outcomes


def _grid() -> Iterator[Case]:
    for (nb, fb), n in itertools.product(BASELINES, CALLS):
        for f in range(n + 1):
            yield from (Case(nb, fb, n, f, run) for run in ((False, True) if f >= 3 else (False,)))


GRID = list(_grid())


def decided(case: Case, rules: Rules) -> str | None:
    """Return what calls for a rollback by `judge`."""
    found = judge(case.baseline, case.current, rules, outcomes=case.outcomes)
    assert found.needs_rollback == (found.rollback_type is not None)
    return found.rollback_type


def published(case: Case, rules: Rules) -> str | None:
    """Return the same by the published rule: steps 7 and 8 of the evidence rule, and the contract's threshold."""
    least, run = rules.min_executions, case.has_run
    alpha = rules.alpha / 2 if rules.rollback_on_slowdown else rules.alpha
    evidence = Evidence(case.nb, case.fb, alpha, rules.delta).present(case.n, case.f)
    drop = (case.f * case.nb - case.fb * case.n) / (case.n * case.nb) + 1e-12 if case.n and case.nb else 0.0
    enough = case.nb >= least
    fell = enough and case.n >= least and drop >= rules.regression_threshold
    critical = enough and case.n >= min(5, least) and drop >= max(0.3, rules.regression_threshold)
    if rules.decision == "threshold" and fell:
        return "threshold"
    if rules.decision == "evidence" and evidence and (fell or critical):
        return "evidence"
    if run and (rules.fast_triggers == "alone" or (rules.fast_triggers == "with_evidence" and evidence and enough)):
        return "fast"
    return None


def rules_of(step: int, few: int) -> pytest.MarkDecorator:
    """Each `step`th of the rules, of which one in `few` is in `make test`."""
    chosen = range(3 % step, len(RULES), step)
    marks = [() if place % few == 0 else pytest.mark.long for place in range(len(chosen))]
    return pytest.mark.parametrize(
        "rules", [pytest.param(RULES[n], marks=mark, id=str(n)) for n, mark in zip(chosen, marks, strict=True)]
    )


@rules_of(step=1, few=6)
def test_every_path_decides_as_the_judge(rules: Rules) -> None:
    """Over all counts of the grid the judge decides by the published rule, and all other paths decide as the judge."""
    lines = {(nb, fb): lines_of(rules, nb, fb, max(CALLS)) for nb, fb in BASELINES}
    for case in GRID:
        expected = decided(case, rules)
        assert expected == published(case, rules), case
        line = lines[case.nb, case.fb]
        drawn = case.f >= line.counts[case.n] or (case.has_run and line.run is not None and case.f >= line.run[case.n])
        assert drawn == (expected is not None), case
        counts = Counts(case.nb, case.fb, case.n, case.f)
        assert may_act(rules, counts, scheduled=True, trigger=case.has_run) or expected is None, case


@rules_of(step=7, few=2)
def test_every_replay_decides_as_the_judge(rules: Rules) -> None:
    """A replayed deployment, a simulated one and a decision's record give the judge's decision."""
    for case in GRID:
        expected = decided(case, rules)
        past = History(NOW, NOW + MINUTE, True, [(NOW, case.current)], [(NOW, case.baseline)])
        replayed = replay_history(past, rules, MINUTE, outcomes=lambda _at, case=case: case.outcomes())
        assert (replayed.judgement.rollback_type if replayed.at else None) == expected, case
        before = [Call(-60.0 - i, i >= case.fb, 1.0, None, None) for i in range(case.nb)]
        since = [Call(float(i), ok, 1.0, None, None) for i, ok in enumerate(case.calls)]
        acted = play([*reversed(before), *since], rules, every=60.0, until=60.0)
        assert (acted is not None) == (expected is not None), case
        record = json.loads(json.dumps(judge(case.baseline, case.current, rules, outcomes=case.outcomes).record()))
        assert differences(record, replay(record)) == [], case


MONITORED = [
    Case(nb, fb, n, f, True) for nb, fb in ((9, 1), (10, 0), (40, 2)) for n in (3, 5, 10, 12) for f in (1, n // 2, n)
]


@pytest.mark.long
@pytest.mark.parametrize("rules", [RULES[0], RULES[26]], ids=["threshold", "evidence"])
@pytest.mark.sqlite_first
def test_the_monitor_decides_as_the_judge(
    rules: Rules, store: ExecutionStore, registry: ToolRegistry, monitor: DeploymentMonitor
) -> None:
    """The same counts, counted by the store and checked by the monitor, give the judge's decision."""
    rows, sessions = [], {}
    for number, case in enumerate(MONITORED):
        name = f"tool_{number}"
        registry.deploy(name, code(1, name), deployed_at=NOW)
        sessions[name] = monitor.start_monitoring(name, NOW, now=NOW, **rules.to_dict()), case
        outcomes = [i >= case.fb for i in range(case.nb)]
        rows += [{"tool_name": name, "success": ok, "executed_at": NOW - timedelta(hours=1)} for ok in outcomes]
        rows += [
            {"tool_name": name, "success": o.success, "executed_at": o.executed_at, "version_number": 1}
            for o in case.outcomes()
        ]
    store.store_tool_executions(rows)
    for name, (session_id, case) in sessions.items():
        report = monitor.check_health(name, session_id, now=NOW + MINUTE)
        assert report["needs_rollback"] == (decided(case, rules) is not None), case
