"""`Investigator`: why a tool fails, from its stored calls, its versions and, where it may be run, by running it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from rollguard.errors import SandboxUnavailable, UnknownTool
from rollguard.investigate.causes import Cause, find_causes
from rollguard.investigate.evidence import as_call, failed, parameters_of, signatures_of, version_at
from rollguard.investigate.intervention import Run, confirmed, runnable, smallest
from rollguard.investigate.report import Report
from rollguard.model.execution import Execution
from rollguard.model.given import checked_now
from rollguard.model.names import checked_tool_name
from rollguard.model.session import Session
from rollguard.model.text_diff import unified_diff
from rollguard.store import ExecutionStore

LOOKBACK_DAYS = 7
_MOST = 1_000  # failed calls that are read, and as many that succeeded
_TRACED = 5  # signatures whose first call is looked for
_AROUND = 5  # lines of code on each side of the one that failed
_LONGEST_DIFF = 16_384
_CANNOT_RUN = (
    "it was not run: it does not say that it is safe to run (read_only, or idempotent without side effects), "
    "or its `@tool` leaves parameters out of what is recorded"
)

Runner = Callable[[str, int | None], Run | None]
"""Returns what runs a version of a tool where that harms nobody; None if the tool may not be run."""


class Investigator:
    """Finds out why tools fail.

    Args:
        store: executions and versions.
        runner: returns what runs a tool; without it no tool is run.
        lookback_days: days of calls that are read.

    Example:
        report = Investigator(store).investigate("weather")
        report.causes[0].predicate  # '$.units is missing'
    """

    def __init__(
        self, store: ExecutionStore, *, runner: Runner | None = None, lookback_days: int = LOOKBACK_DAYS
    ) -> None:
        self._store, self._runner, self._days = store, runner, lookback_days

    def investigate(
        self,
        tool_name: str,
        version_number: int | None = None,
        *,
        now: datetime | None = None,
        keep: bool = True,
        leave_out: Callable[[Any], bool] | None = None,
    ) -> Report:
        """Return why a tool fails.

        The latest 1,000 failed calls are read, and as many that succeeded, taken evenly from the same time.

        Args:
            tool_name: the tool.
            version_number: only failures of this version, beside calls of it and of earlier ones that succeeded.
            now: the present moment; the clock's by default.
            keep: whether the report is kept in `investigation_reports`.
            leave_out: says for the parameters of a call whether it is left out.

        Raises:
            UnknownTool: there is neither a call nor a version of the tool.
            UnknownVersion: the tool has no such version.
            StoreUnavailable: the database cannot be reached.
        """
        checked_tool_name(tool_name)
        moment = checked_now(now)
        if version_number is not None:
            self._store.versions.get(tool_name, version_number)
        found = _Investigation(self._store, tool_name, version_number, moment, timedelta(days=self._days), leave_out)
        if not found.calls and not self._store.versions.history(tool_name):
            raise UnknownTool(
                f"there is neither a call of {tool_name!r} in the last {self._days} days nor a version; "
                "list the tools with: rollguard tools"
            )
        report = found.report(self._runner)
        if keep:
            self._store.investigations.keep(report.to_dict(), moment)
        return report


_FEW, _SHORT = 100, 2_048  # calls of each outcome, and characters of their parameters, while a rollback waits


def causes_since_deployment(store: ExecutionStore, session: Session, until: datetime, *, within: float) -> list[Cause]:
    """Return the causes of the failures since a deployment, from few and short calls: a rollback waits for them.

    Half of them are the latest; the others are of the whole time since the deployment, and since the baseline began.

    Args:
        within: seconds that reading may take.

    Raises:
        StoreError: the database did not answer in time.
    """
    name = session.tool_name
    read, end = partial(store.samples.over, name, until=until, limit=_FEW, longest=_SHORT), time.monotonic() + within
    bad = read(session.deployment_time, failed=True, within=within / 2)
    good = read(session.baseline_start, failed=False, within=end - time.monotonic())
    of_version = version_at(store.versions.deployments(name))
    return find_causes([as_call(call, of_version(call), ()) for call in (*bad, *good)])


class _Investigation:
    def __init__(
        self,
        store: ExecutionStore,
        tool_name: str,
        version_number: int | None,
        now: datetime,
        lookback: timedelta,
        leave_out: Callable[[Any], bool] | None,
    ) -> None:
        self._store, self._tool, self._version, self._now = store, tool_name, version_number, now
        self._of_version = version_at(store.versions.deployments(tool_name))
        begin = now - lookback
        latest = store.samples.of(tool_name, begin, now, _MOST, failed=True)
        self._begin, self._cut = begin, len(latest) == _MOST
        # Calls of other times would differ from the failed ones by their time alone.
        same_time = latest[-1].executed_at or begin if self._cut else begin
        read = [latest, store.samples.of(tool_name, same_time, now, _MOST, failed=False, spread=True)]
        if leave_out is not None:
            read = [[call for call in some if not leave_out(parameters_of(call))] for some in read]
        self._failed = [call for call in read[0] if version_number in (None, self._of_version(call))]
        self._passed = [call for call in read[1] if self._comparable(call)]
        self.calls: list[Execution] = [*self._failed, *self._passed]
        self._outages = store.baselines.outages_beside(tool_name, begin, now) if self._failed else []

    def _comparable(self, call: Execution) -> bool:
        version = self._of_version(call)
        return self._version is None or version is None or version <= self._version

    def report(self, runner: Runner | None) -> Report:
        """Return what was found."""
        signatures = signatures_of(self._failed, self._of_version)
        if self._cut and self._version is None:
            signatures = [*map(self._since_first, signatures[:_TRACED]), *signatures[_TRACED:]]
        causes = find_causes([as_call(call, self._of_version(call), self._outages) for call in self.calls])
        notes = self._notes()
        causes, least = self._run(causes, runner, notes) if self._failed else (causes, None)
        return Report(
            self._tool,
            self._version,
            self._now.isoformat(),
            len(self.calls),
            len(self._failed),
            signatures,
            causes,
            {"succeeded": _latency(self._passed), "failed": _latency(self._failed)},
            self._source(signatures),
            least,
            notes,
        )

    def _since_first(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return a signature with when it was really first seen, and the version that brought it."""
        read_from = self._failed[-1].executed_at or self._now
        earlier = self._store.samples.first(self._tool, self._begin, read_from, _MOST, entry["error_type"])
        alike = [call for call in earlier if failed(call, None).name == entry["signature"]]
        if not alike:
            return entry
        at = alike[0].executed_at
        return {**entry, "first_seen": at and at.isoformat(), "version_number": self._of_version(alike[0])}

    def _notes(self) -> list[str]:
        notes = []
        if self._cut:
            notes.append(f"only the latest {_MOST:,} calls that failed were read")
        unknown = sum(parameters_of(call) is None for call in self.calls)
        if unknown:
            notes.append(
                f"{unknown:,} calls have no parameters, or they were cut: only what is around them was compared"
            )
        return notes

    def _run(
        self, causes: list[Cause], runner: Runner | None, notes: list[str]
    ) -> tuple[list[Cause], dict[str, Any] | None]:
        """Confirm the causes and find the smallest failing input, where the tool may be run."""
        live = self._store.versions.live(self._tool)
        version = self._version if self._version is not None else None if live is None else live.version_number
        run = None if runner is None else runner(self._tool, version)
        if run is None:
            notes.append(_CANNOT_RUN)
            return causes, None
        inputs = [
            [one for call in some if runnable(one := parameters_of(call))] for some in (self._failed, self._passed)
        ]
        failing, passing = inputs
        if len(failing) < len(self._failed):
            notes.append(
                f"{len(self._failed) - len(failing):,} failed calls cannot be run again: redacted, cut or unknown"
            )
        try:
            return [confirmed(cause, failing, passing, run) for cause in causes], smallest(failing, run, causes[0])
        except SandboxUnavailable as error:
            notes.append(f"it was not run: {error}")
            return causes, None

    def _source(self, signatures: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the code around the failing line of the first signature with a place, and the diff that brought it."""
        entry = next((one for one in signatures if one["failed_at"] is not None), None)
        brought = None if entry is None else entry["version_number"]
        if entry is None or brought is None:
            return None
        versions = {one.version_number: one for one in self._store.versions.history(self._tool)}
        if brought not in versions:
            return None
        place, now = entry["failed_at"], versions[brought]
        lines = now.code.decode("utf-8", "backslashreplace").splitlines()
        first = max(1, place["line"] - _AROUND)
        shown = lines[first - 1 : place["line"] + _AROUND]
        before = max((number for number in versions if number < brought), default=None)
        diff = ""
        if before is not None:
            old, new = (f"{self._tool}, version {number}" for number in (before, brought))
            diff = unified_diff(versions[before].code, now.code, old, new).text[:_LONGEST_DIFF]
        return {
            "version_number": brought,
            "function": place["function"],
            "line": place["line"],
            "text": "\n".join(
                f"{'>' if number == place['line'] else ' '} {number:4} {line}"
                for number, line in enumerate(shown, first)
            ),
            "brought_by": brought,
            "diff": diff,
        }


def _latency(calls: Sequence[Execution]) -> dict[str, Any]:
    times = sorted(call.duration_ms for call in calls if isinstance(call.duration_ms, int | float))
    if not times:
        return {"calls": 0, "mean": None, "p50": None, "p95": None}
    last = len(times) - 1
    return {
        "calls": len(times),
        "mean": statistics.fmean(times),
        "p50": times[last // 2],
        "p95": times[round(0.95 * last)],
    }
