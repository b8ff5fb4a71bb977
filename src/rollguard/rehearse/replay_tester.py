"""`ReplayTester`: does a candidate succeed with the calls that were recorded?"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollguard.compat import read
from rollguard.errors import InvalidSetting
from rollguard.model.execution import Execution
from rollguard.model.given import checked_now
from rollguard.model.rehearsed import ReplayTestResult
from rollguard.rehearse.calls import Chosen, choose
from rollguard.rehearse.compare import Comparison
from rollguard.rehearse.declared import not_recorded
from rollguard.rehearse.noise import Noise
from rollguard.rehearse.pairs import Classifier, IsFailure
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Run
from rollguard.rehearse.sandboxed import in_sandbox
from rollguard.rehearse.shadow_tester import share_of
from rollguard.rehearse.shown import Shown
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind
from rollguard.store import ExecutionStore

LOOKBACK_DAYS = 30
_READ = 20  # times as many executions are read as are run: many have the same input


class ReplayTester:
    """Runs a candidate with recorded calls, and counts with how many it succeeds.

    Args:
        execution_store: the recorded calls, and where results are stored.
        min_replays: with fewer calls the test does not pass.
        success_threshold: the share of successes that passes; a regression never does.
        rules: the tool's rules.
        is_failure: returns whether a result is a failure.
        run: runs a source; by default in the sandbox.
    """

    def __init__(
        self,
        execution_store: ExecutionStore,
        *,
        min_replays: int = 10,
        success_threshold: float = 0.9,
        rules: RehearsalRules | None = None,
        is_failure: IsFailure | None = None,
        run: Run | None = None,
    ) -> None:
        if isinstance(min_replays, bool) or not isinstance(min_replays, int) or min_replays < 1:
            raise InvalidSetting("min_replays", f"{min_replays!r} is not a whole number of 1 or more")
        self.min_replays, self.success_threshold = min_replays, share_of("success_threshold", success_threshold)
        self._store, self._rules = execution_store, rules or RehearsalRules()
        self._classifier, self._run = Classifier(Comparison(self._rules, Noise()), is_failure), run

    def replay_test(
        self,
        tool_name: str,
        new_code: str | bytes,
        *,
        lookback_days: float = LOOKBACK_DAYS,
        max_replays: int = 50,
        now: datetime | None = None,
    ) -> ReplayTestResult:
        """Run a candidate with recorded calls. Replay only tools for which a repeated call changes nothing.

        Args:
            tool_name: the tool.
            new_code: the candidate's source.
            lookback_days: how far back calls are read.
            max_replays: the most calls.
            now: the present moment; the clock's by default.

        Raises:
            StoreError: the calls cannot be read, or the result cannot be stored.
        """
        started = checked_now(now)
        source = new_code.encode() if isinstance(new_code, str) else new_code
        chosen = recorded_calls(
            self._store, tool_name, source, since=started - timedelta(days=lookback_days), limit=max_replays
        )
        run = self._run or in_sandbox()
        limits = Limits(seconds=self._rules.seconds)
        inputs = [call.parameters for call in chosen.calls]
        outcomes = run(source, tool_name, inputs, limits) if inputs else []
        result = self._result(tool_name, source, chosen, outcomes, started, checked_now(now))
        return replace(result, test_id=self._store.rehearsals.add_replay(result))

    def _result(
        self,
        tool_name: str,
        source: bytes,
        chosen: Chosen,
        outcomes: Sequence[Outcome],
        started: datetime,
        completed: datetime,
    ) -> ReplayTestResult:
        shown = Shown.of(self._store)
        ran = [
            (call, outcome, self._classifier.succeeded(outcome))
            for call, outcome in zip(chosen.calls, outcomes, strict=True)
            if outcome.kind is not OutcomeKind.NOT_RUN
        ]
        good = sum(success for _, _, success in ran)
        regressions = sum(bool(call.success) and not success for call, _, success in ran)
        errors = [f"{count} calls could not be replayed: {reason}" for reason, count in chosen.unfit.items()]
        errors += sorted({f"not run: {o.error}" for o in outcomes if o.kind is OutcomeKind.NOT_RUN})
        if len(ran) < self.min_replays:
            errors.append(f"only {len(ran)} calls were replayed; {self.min_replays} are needed")
        return ReplayTestResult(
            tool_name=tool_name,
            candidate_sha256=hashlib.sha256(source).hexdigest(),
            replay_count=len(ran),
            successes=good,
            failures=len(ran) - good,
            passed=len(ran) >= self.min_replays and good >= self.success_threshold * len(ran) and not regressions,
            improvements_count=sum(success and not call.success for call, _, success in ran),
            regressions_count=regressions,
            differences=tuple(
                shown.replayed(call, outcome) for call, outcome, success in ran if success is not call.success
            ),
            errors=tuple(map(shown.text, errors)),
            started_at=started,
            completed_at=completed,
        )


def recorded_calls(
    store: ExecutionStore,
    tool_name: str,
    source: bytes,
    *,
    since: datetime,
    limit: int,
    draw: int = 0,
    seen: Collection[str] = (),
) -> Chosen:
    """Return recorded calls of a tool that can be run again; see `choose`."""
    executions: list[Execution] = []
    for success in (False, True):
        executions += store.listing.outcomes(tool_name, success=success, since=since, limit=_READ * limit)
    executions.sort(key=lambda execution: execution.executed_at or since, reverse=True)
    try:
        tool, unknown = read(source, tool_name).tool, not_recorded(source, tool_name)
        required = [one.name for one in tool.parameters if one.required] if tool else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the gate says so
        required, unknown = [], []
    return choose(executions, required=required, unknown=unknown, limit=limit, draw=draw, seen=seen)
