"""`ShadowTester`: does a candidate do what the live version does?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rollguard.errors import InvalidSetting
from rollguard.model.given import checked_now
from rollguard.model.rehearsed import ShadowTestResult
from rollguard.rehearse.calls import Call
from rollguard.rehearse.pairs import IsFailure, Pair, PairKind
from rollguard.rehearse.rules import RehearsalRules
from rollguard.rehearse.runs import Run, Versions, did_not_run, paired
from rollguard.rehearse.sandboxed import in_sandbox
from rollguard.rehearse.shown import Shown
from rollguard.sandbox.outcome import Limits
from rollguard.store import ExecutionStore


class ShadowTester:
    """Runs two versions with the same inputs, and counts with how many they do the same.

    What differs between runs of the live version itself is no disagreement.

    Args:
        execution_store: where results are stored; without one they are only returned.
        agreement_threshold: the share of agreements that passes.
        rules: how results are compared.
        is_failure: returns whether a result is a failure.
        run: runs a source; by default in the sandbox.
    """

    def __init__(
        self,
        execution_store: ExecutionStore | None = None,
        *,
        agreement_threshold: float = 0.95,
        rules: RehearsalRules | None = None,
        is_failure: IsFailure | None = None,
        run: Run | None = None,
    ) -> None:
        self.agreement_threshold = share_of("agreement_threshold", agreement_threshold)
        self._store, self._rules, self._is_failure = execution_store, rules or RehearsalRules(), is_failure
        self._run = run

    def shadow_test(
        self,
        tool_name: str,
        live_code: str | bytes,
        new_code: str | bytes,
        inputs: Sequence[Mapping[str, Any]],
        *,
        now: datetime | None = None,
    ) -> ShadowTestResult:
        """Run both versions with each input. Give only inputs with which the tool changes nothing.

        Args:
            tool_name: the tool.
            live_code, new_code: the sources.
            inputs: the parameters of each call.
            now: the present moment; the clock's by default.

        Raises:
            StoreError: the result cannot be stored.
        """
        started = checked_now(now)
        old, new = (code.encode() if isinstance(code, str) else code for code in (live_code, new_code))
        limits = Limits(seconds=self._rules.seconds)
        versions = Versions(tool_name, old, new, self._run or in_sandbox(), limits)
        calls = [Call(str(number), dict(given), success=None) for number, given in enumerate(inputs, start=1)]
        pairs = paired(versions, calls, self._rules, self._is_failure)[0] if calls else []
        result = shadow_result(
            tool_name,
            hashlib.sha256(new).hexdigest(),
            pairs,
            passes=lambda rate: rate >= self.agreement_threshold,
            shown=Shown.of(self._store),
            started=started,
            completed=checked_now(now),
        )
        return result if self._store is None else stored_shadow(self._store, result)


def shadow_result(
    tool_name: str,
    sha256: str,
    pairs: Sequence[Pair],
    *,
    passes: Any,
    shown: Shown,
    started: datetime,
    completed: datetime,
    errors: Sequence[str] = (),
) -> ShadowTestResult:
    """Return the result of a shadow test for classified inputs.

    Args:
        passes: returns whether a rate of agreement passes.
    """
    ran = [pair for pair in pairs if not did_not_run(pair.runs.old) and not did_not_run(pair.runs.new)]
    agreed = sum(pair.kind is PairKind.SAME for pair in ran)
    problems = [*errors]
    if len(ran) < len(pairs):
        problems.append(f"{len(pairs) - len(ran)} inputs were not run")
    return ShadowTestResult(
        tool_name=tool_name,
        candidate_sha256=sha256,
        test_count=len(ran),
        agreements=agreed,
        disagreements=len(ran) - agreed,
        passed=bool(ran) and bool(passes(agreed / len(ran))),
        differences=tuple(shown.pair(pair) for pair in ran if pair.kind is not PairKind.SAME),
        errors=tuple(map(shown.text, problems)),
        started_at=started,
        completed_at=completed,
    )


def stored_shadow(store: ExecutionStore, result: ShadowTestResult) -> ShadowTestResult:
    """Store a result, and return it with its number."""
    from dataclasses import replace

    return replace(result, test_id=store.rehearsals.add_shadow(result))


def share_of(key: str, value: object) -> float:
    """Return a share, or raise `InvalidSetting`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InvalidSetting(key, f"{value!r} is not a share above 0 and at most 1")
    return float(value)
