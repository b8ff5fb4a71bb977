"""The life of sessions under random sequences of deploying, calling, checking, rolling back, cancelling and waiting.

A plain model predicts each outcome; the invariants are read from the database and the file.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollguard import DeploymentMonitor, ExecutionStore, ToolRegistry
from rollguard.errors import CodeQuarantined, NoEarlierVersion, SessionClosed
from rollguard.store import digest
from tests.conftest import NOW, code, examples
from tests.postgres import PostgresServer

TOOL = "my_tool"
THRESHOLD = Fraction(15, 100)


@dataclass
class Model:
    """What should be true, in the simplest terms."""

    calls: list[tuple[datetime, bool, int | None]] = field(default_factory=list)
    deployments: list[tuple[int, str | None]] = field(default_factory=list)  # version, what ended it
    session: tuple[int, int, datetime] | None = None  # id, version, deployment time
    closed: dict[int, str] = field(default_factory=dict)
    lives: dict[int, datetime] = field(default_factory=dict)  # when a version last stopped being live
    quarantined: set[int] = field(default_factory=set)
    rolled_back_at: list[datetime] = field(default_factory=list)  # by Rollguard itself

    @property
    def live(self) -> int | None:
        return self.deployments[-1][0] if self.deployments else None

    def go_live(self, version: int, ended_by: str, at: datetime) -> None:
        if self.deployments:
            ended = self.deployments[-1][0]
            self.deployments[-1] = (ended, ended_by)
            self.lives[ended] = at
        self.deployments.append((version, None))

    def previous_good(self) -> int | None:
        seen = {self.live, *self.quarantined}
        for version, ended_by in reversed(self.deployments):
            if version not in seen:
                seen.add(version)
                if ended_by != "rollback":
                    return version
        return None

    def close(self, status: str) -> None:
        assert self.session is not None
        self.closed[self.session[0]] = status
        self.session = None


class Sessions(RuleBasedStateMachine):
    """Drives the real monitor, store and files beside the model."""

    new_url: ClassVar[object]

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rg-sm-"))
        self.store = ExecutionStore(type(self).new_url(self.folder))
        self.registry = ToolRegistry(self.folder / "tools", store=self.store)
        self.monitor = DeploymentMonitor(execution_store=self.store, tool_registry=self.registry, notifiers=[])
        self.now = NOW
        self.model = Model()
        self.rolled_back_sessions = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.registry.close()
            self.store.close()
            shutil.rmtree(self.folder)

    # --- what may happen --------------------------------------------------------------------------------------------

    @rule(version=st.integers(1, 4), force=st.booleans())
    def deploy(self, version: int, force: bool) -> None:
        before = self.model.live
        known = self.store.versions.find(TOOL, digest(code(version).encode()))
        if known is not None and known.version_number in self.model.quarantined and known.version_number != before:
            if not force:
                with pytest.raises(CodeQuarantined):
                    self.registry.deploy(TOOL, code(version), deployed_at=self.now)
                return
            self.model.quarantined.discard(known.version_number)
        number = self.registry.deploy(TOOL, code(version), deployed_at=self.now, force=force)
        if number != before:
            self.model.go_live(number, "deployment", self.now)
            if self.model.session is not None:
                self.model.close("superseded")

    @precondition(lambda self: self.model.live is not None)
    @rule()
    def watch(self) -> None:
        session_id = self.monitor.start_monitoring(TOOL, self.now, now=self.now)
        if self.model.session is not None:
            self.model.close("superseded")
        self.model.session = (session_id, self.model.live or 0, self.now)

    @rule(successes=st.integers(0, 20), failures=st.integers(0, 20), named=st.booleans())
    def call(self, successes: int, failures: int, named: bool) -> None:
        version = self.model.live if named else None
        rows = [(self.now + timedelta(seconds=i), i < successes, version) for i in range(successes + failures)]
        self.model.calls += rows
        self.store.store_tool_executions(
            {"tool_name": TOOL, "success": ok, "executed_at": at, "version_number": v} for at, ok, v in rows
        )
        self.now += timedelta(minutes=1)

    @rule(hours=st.sampled_from([1, 5, 12, 24, 24 * 8]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: self.model.session is not None)
    @rule()
    def check(self) -> None:
        session_id, version, deployed = self.model.session
        result = self.monitor.auto_rollback_if_needed(TOOL, session_id, now=self.now)
        end = deployed + timedelta(hours=24)
        (nb, sb), (n, s) = self._windows(version, deployed, min(self.now, end))
        assert (result["baseline"]["total_executions"], result["baseline"]["successes"]) == (nb, sb)
        assert (result["current"]["total_executions"], result["current"]["successes"]) == (n, s)
        enough = nb >= 10 and n >= 10
        regressed = enough and Fraction(sb, nb) - Fraction(s, n) >= THRESHOLD
        assert result["needs_rollback"] is regressed
        target = self.model.previous_good()
        day = [at for at in self.model.rolled_back_at if at > self.now - timedelta(hours=24)]
        if regressed and target is not None and len(day) < 3:
            self.model.rolled_back_at.append(self.now)
            self.model.quarantined.add(version)
            assert result["rollback_performed"] is True
            assert result["rollback_result"]["to_version"] == target
            self.model.go_live(target, "rollback", self.now)
            self.model.close("rolled_back")
        else:
            assert result["rollback_performed"] is False
            if self.now >= end:
                outcome = "regressed" if regressed else "healthy" if enough else "unproven"
                assert self.monitor.get_session(session_id).outcome == outcome
                self.model.close("completed")

    @precondition(lambda self: self.model.live is not None)
    @rule()
    def roll_back_by_hand(self) -> None:
        target = self.model.previous_good()
        if target is None:
            with pytest.raises(NoEarlierVersion):
                self.monitor.roll_back(TOOL, reason="by hand", now=self.now)
            return
        assert self.monitor.roll_back(TOOL, reason="by hand", now=self.now).to_version == target
        self.model.go_live(target, "rollback", self.now)
        if self.model.session is not None:
            self.model.close("rolled_back")

    @precondition(lambda self: self.model.session is not None)
    @rule()
    def cancel(self) -> None:
        session_id = self.model.session[0]
        self.monitor.cancel_monitoring(session_id, now=self.now)
        self.model.close("cancelled")
        with pytest.raises(SessionClosed):
            self.monitor.cancel_monitoring(session_id, now=self.now)

    @precondition(lambda self: self.model.closed)
    @rule(data=st.data())
    def check_a_closed_one(self, data: st.DataObject) -> None:
        session_id = data.draw(st.sampled_from(sorted(self.model.closed)))
        result = self.monitor.auto_rollback_if_needed(TOOL, session_id, now=self.now)
        assert (result["needs_rollback"], result["rollback_performed"]) == (False, False)

    # --- what must always hold --------------------------------------------------------------------------------------

    @invariant()
    def statuses_agree(self) -> None:
        found = {s.session_id: s for s in self.store.sessions.recent()}
        expected = dict(self.model.closed)
        if self.model.session is not None:
            expected[self.model.session[0]] = "active"
        assert {session_id: s.status for session_id, s in found.items()} == expected
        assert all(s.active == (s.completed_at is None) for s in found.values())

    @invariant()
    def one_rollback_a_rolled_back_session(self) -> None:
        finished = [r.session_id for r in self.store.rollbacks.recent() if r.rollback_successful and r.session_id]
        assert sorted(finished) == sorted(s for s, status in self.model.closed.items() if status == "rolled_back")
        assert self.store.rollbacks.open() == []

    @invariant()
    def file_and_pointer_agree(self) -> None:
        live = self.store.versions.live(TOOL)
        assert (live.version_number if live else None) == self.model.live
        if live is not None:
            on_disk = (self.folder / "tools" / f"{TOOL}.py").read_bytes()
            assert on_disk == self.store.versions.get(TOOL, live.version_number).code

    @invariant()
    def views_agree(self) -> None:
        under_watch = [row["session_id"] for row in self.store.reports.active_monitoring()]
        assert under_watch == ([self.model.session[0]] if self.model.session else [])
        sessions = len(self.model.closed) + len(under_watch)
        stability = {r["tool_name"]: r for r in self.store.reports.deployment_stability()}
        assert (stability[TOOL]["total_deployments"] if sessions else 0) == sessions

    def _windows(self, version: int, deployed: datetime, until: datetime) -> tuple[tuple[int, int], tuple[int, int]]:
        life = self.model.lives.get(version)
        start = deployed - timedelta(days=7)

        def ours(at: datetime, v: int | None) -> bool:
            return v == version and (life is None or at >= life)

        baseline = [ok for at, ok, v in self.model.calls if start <= at < deployed and not ours(at, v)]
        current = [
            ok
            for at, ok, v in self.model.calls
            if at <= until and ((ours(at, v) and at >= start) or (v is None and at >= deployed))
        ]
        return (len(baseline), sum(baseline)), (len(current), sum(current))


STEPS = settings(
    parent=examples(8),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.hypothesis
def test_sessions_on_sqlite() -> None:
    """Whatever happens, in whatever order, statuses, rollbacks, file, pointer and views agree (SQLite)."""
    Sessions.new_url = staticmethod(lambda folder: f"sqlite:///{folder}/rollguard.db")
    run_state_machine_as_test(Sessions, settings=STEPS)


@pytest.mark.hypothesis
def test_sessions_on_postgresql(postgres: PostgresServer) -> None:
    """Whatever happens, in whatever order, statuses, rollbacks, file, pointer and views agree (PostgreSQL)."""
    Sessions.new_url = staticmethod(lambda _folder: postgres.new_database())
    run_state_machine_as_test(Sessions, settings=STEPS)
