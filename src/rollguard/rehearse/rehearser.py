"""`Rehearser`: rehearse a candidate with the calls that a store holds, and store what it did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from rollguard.errors import UnknownTool
from rollguard.model.given import checked_now
from rollguard.model.own_spans import span
from rollguard.model.rehearsed import ReplayTestResult
from rollguard.registry import ToolRegistry
from rollguard.rehearse.declared import Strategy, declared, not_recorded, strategy_of
from rollguard.rehearse.gate import Candidate, limits_of, rehearse
from rollguard.rehearse.pairs import IsFailure, PairKind
from rollguard.rehearse.reason import ask
from rollguard.rehearse.rehearsal import Rehearsal, Verdict
from rollguard.rehearse.replay_tester import LOOKBACK_DAYS, recorded_calls
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Run, did_not_run
from rollguard.rehearse.sandboxed import in_sandbox
from rollguard.rehearse.shadow_tester import shadow_result, stored_shadow
from rollguard.rehearse.shown import Shown
from rollguard.sandbox.outcome import Outcome
from rollguard.store import ExecutionStore


class Rehearser:
    """Rehearses candidates for the tools of a registry.

    Args:
        execution_store: the recorded calls, and where results are stored.
        tool_registry: the live versions.
        rules: for a tool's name, its settings.
        failure_rules: for a tool's name, which results are failures.
        environment: for a tool's name, the values of the variables that its settings grant.
        run: runs a source; by default in the sandbox.
    """

    def __init__(
        self,
        execution_store: ExecutionStore,
        tool_registry: ToolRegistry,
        *,
        rules: Mapping[str, RehearsalRules] | None = None,
        failure_rules: Mapping[str, IsFailure] | None = None,
        environment: Mapping[str, Mapping[str, str]] | None = None,
        run: Run | None = None,
    ) -> None:
        self._store, self._registry = execution_store, tool_registry
        self._rules, self._failure_rules = dict(rules or {}), dict(failure_rules or {})
        self._environment, self._run = dict(environment or {}), run

    def rehearse(
        self,
        tool_name: str,
        code: str | bytes,
        *,
        must_fix: bool = True,
        lookback_days: float = LOOKBACK_DAYS,
        draw: int = 0,
        seen: Collection[str] = (),
        now: datetime | None = None,
    ) -> Rehearsal:
        """Run a candidate beside the live version on recorded calls, and say whether it may go live.

        Args:
            tool_name: the tool.
            code: the candidate's source.
            must_fix: False for a change that is to fix nothing, and only must break nothing.
            lookback_days: how far back calls are read.
            draw: another number holds other calls out.
            seen: the digests of inputs that the candidate's author saw (`Brief.seen`). They are never held out, so that
                calls that were recorded since the brief was made change nothing about that.
            now: the present moment; the clock's by default.

        Raises:
            UnknownTool: the tool has no live version.
            SandboxUnavailable: nothing can be run here in the sandbox.
            StoreError: the calls cannot be read, or the result cannot be stored.
        """
        started = checked_now(now)
        with span("rehearsal", tool_name=tool_name, must_fix=must_fix) as note:
            candidate = self.candidate(
                tool_name, code, must_fix=must_fix, lookback_days=lookback_days, draw=draw, seen=seen, now=started
            )
            done = rehearse(candidate, self._run or in_sandbox())
            if self._registry.live_code(tool_name) != candidate.old:
                moved = ask(
                    "live", "another version went live meanwhile, so it was rehearsed beside the wrong one: try again"
                )
                done = replace(done, reasons=(*done.reasons, moved))
            self._keep(done, started, checked_now(now))
            note(verdict=str(done.verdict), **{str(kind): done.count(kind) for kind in PairKind})
        return done

    def candidate(
        self,
        tool_name: str,
        code: str | bytes | None = None,
        *,
        must_fix: bool = True,
        lookback_days: float = LOOKBACK_DAYS,
        draw: int = 0,
        seen: Collection[str] = (),
        now: datetime | None = None,
    ) -> Candidate:
        """Return what a rehearsal goes by: the live source, the recorded calls and the rules. Nothing is run.

        The arguments are those of `rehearse`. Without `code` it is that of the live version itself.

        Raises:
            UnknownTool: the tool has no live version.
            StoreError: the calls cannot be read.
        """
        live = self._registry.live_code(tool_name)
        if live is None:
            raise UnknownTool(
                f"{tool_name} has no live version to be compared with; name the tool that is meant, or deploy it "
                "without a rehearsal first"
            )
        rules, environment = self.rules_of(tool_name), self._environment.get(tool_name, {})
        since = checked_now(now) - timedelta(days=lookback_days)
        return Candidate(
            tool_name,
            live,
            live if code is None else code.encode() if isinstance(code, str) else code,
            recorded_calls(self._store, tool_name, live, since=since, limit=rules.max_replays, draw=draw, seen=seen),
            rules,
            self._failure_rules.get(tool_name),
            must_fix=must_fix,
            environment=environment,
            shown=Shown.of(self._store, environment.values()),
        )

    def rules_of(self, tool_name: str) -> RehearsalRules:
        """Return the settings of a tool's rehearsals."""
        return self._rules.get(tool_name, RehearsalRules())

    def runner(
        self, tool_name: str, version_number: int | None
    ) -> Callable[[Sequence[dict[str, Any]]], list[Outcome]] | None:
        """Return what runs a version, by default the live one, with inputs; None if the tool may not be run."""
        if version_number is not None:
            code: bytes | None = self._store.versions.get(tool_name, version_number).code
        else:
            code = self._registry.live_code(tool_name)
        if code is None:
            return None
        rules = self.rules_of(tool_name)
        tool = declared(code, tool_name).with_rules(rules)
        may_run = strategy_of(tool, rules.grants)[0] in (Strategy.SHADOW, Strategy.REPLAY)
        if not may_run or not_recorded(code, tool_name):
            return None
        limits, run = limits_of(tool, rules, self._environment.get(tool_name, {})), self._run or in_sandbox()
        return lambda inputs: run(code, tool_name, inputs, limits)

    def _keep(self, done: Rehearsal, started: datetime, completed: datetime) -> None:
        """Store what a candidate did with recorded calls, in the table of its strategy."""
        passed, errors = done.verdict is Verdict.PASSES, [reason.text for reason in done.reasons]
        if done.strategy is Strategy.SHADOW:
            result = shadow_result(
                done.tool_name,
                done.new_sha256,
                done.pairs,
                passes=lambda _rate: passed,
                shown=done.shown,
                started=started,
                completed=completed,
                errors=errors,
            )
            stored_shadow(self._store, result)
        elif done.strategy is Strategy.REPLAY:
            self._store.rehearsals.add_replay(_replay_result(done, started, completed))


def _replay_result(done: Rehearsal, started: datetime, completed: datetime) -> ReplayTestResult:
    ran = [pair for pair in done.pairs if not did_not_run(pair.runs.new)]
    good = sum(pair.new_successes == len(pair.runs.new) for pair in ran)
    return ReplayTestResult(
        tool_name=done.tool_name,
        candidate_sha256=done.new_sha256,
        replay_count=len(ran),
        successes=good,
        failures=len(ran) - good,
        passed=done.verdict is Verdict.PASSES,
        improvements_count=done.count(PairKind.FIXED),
        regressions_count=done.count(PairKind.BROKEN),
        differences=tuple(done.shown.pair(pair) for pair in ran if pair.kind is not PairKind.SAME),
        errors=tuple(done.shown.text(reason.text) for reason in done.reasons),
        started_at=started,
        completed_at=completed,
    )
