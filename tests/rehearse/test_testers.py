"""Shadow and replay tests, each alone and in a rehearsal: what they count, what passes, and what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollguard import ExecutionStore, Rollguard, Settings, ToolRegistry
from rollguard.errors import DeploymentConflict, InvalidSetting, RehearsalRefused, RehearsalUndecided, UnknownTool
from rollguard.rehearse import RehearsalRules, Rehearser, ReplayTester, ShadowTester, Verdict
from rollguard.sandbox.outcome import Outcome
from tests.conftest import NOW
from tests.rehearse.running import in_process
from tests.rehearse.test_gate import OLD, RIGHT

HOUR = timedelta(hours=1)
BROKEN = RIGHT.replace("* count", "/ count")


def record(store: ExecutionStore, *, good: int = 12, bad: int = 6) -> None:
    """Record calls of `price` that the old version succeeded and failed with."""
    store.store_tool_executions(
        {
            "tool_name": "price",
            "success": True,
            "parameters": {"amount": str(n), "count": n % 3},
            "result": {"total": float(n * (n % 3)), "currency": "EUR"},
            "executed_at": NOW - HOUR,
        }
        for n in range(good)
    )
    store.store_tool_executions(
        {
            "tool_name": "price",
            "success": False,
            "error": "ValueError: could not convert string to float",
            "parameters": {"amount": f"{n},{n + 300}", "count": 1},
            "executed_at": NOW - HOUR,
        }
        for n in range(1, bad + 1)
    )


def test_a_shadow_test_counts_agreements(store: ExecutionStore) -> None:
    """Inputs with the same outcome agree; with a share of the threshold it passes, and the result is stored."""
    inputs = [{"amount": str(n), "count": 1} for n in range(19)] + [{"amount": "1,000", "count": 1}]
    tester = ShadowTester(store, run=in_process)
    done = tester.shadow_test("price", OLD, RIGHT, inputs, now=NOW)
    assert (done.test_count, done.agreements, done.disagreements, done.agreement_rate) == (20, 19, 1, 0.95)
    assert done.passed
    assert [entry["kind"] for entry in done.differences] == ["fixed"]
    assert store.rehearsals.shadow("price") == [done]
    strict = ShadowTester(agreement_threshold=0.96, run=in_process)
    assert not strict.shadow_test("price", OLD, RIGHT, inputs, now=NOW).passed
    assert not strict.shadow_test("price", OLD, OLD, [], now=NOW).passed
    assert store.rehearsals.shadow("other") == []


def test_a_replay_test_counts_successes(store: ExecutionStore) -> None:
    """A replay passes with nine of ten successes and no regression; improvements and regressions are counted."""
    record(store)
    tester = ReplayTester(store, run=in_process)
    done = tester.replay_test("price", RIGHT, now=NOW)
    assert (done.replay_count, done.successes, done.improvements_count, done.regressions_count) == (18, 18, 6, 0)
    assert done.passed
    worse = tester.replay_test("price", BROKEN, now=NOW)
    assert (worse.passed, worse.regressions_count) == (False, 4)
    assert store.rehearsals.replay("price") == [worse, done]
    assert not tester.replay_test("price", OLD, now=NOW).passed
    few = tester.replay_test("price", RIGHT, max_replays=4, now=NOW)
    assert not few.passed
    assert "10 are needed" in few.errors[-1]
    assert tester.replay_test("price", RIGHT, lookback_days=0.01, now=NOW).replay_count == 0


def test_the_views_sum_the_tests_up(store: ExecutionStore) -> None:
    """`testing_summary` counts tests of a tool, `tool_testing_history` lists them, newest first."""
    record(store)
    ReplayTester(store, run=in_process).replay_test("price", RIGHT, now=NOW)
    ShadowTester(store, run=in_process).shadow_test("price", OLD, BROKEN, [{"amount": "2", "count": 0}], now=NOW + HOUR)
    (summary,) = store.reports.testing_summary()
    assert (summary["shadow_tests"], summary["shadow_tests_passed"]) == (1, 0)
    assert (summary["replay_tests"], summary["replay_tests_passed"]) == (1, 1)
    assert summary["last_tested_at"] == NOW + HOUR
    history = store.reports.tool_testing_history("price")
    assert [(row["kind"], row["passed"]) for row in history] == [("shadow", False), ("replay", True)]


@pytest.mark.parametrize(
    "make",
    [
        lambda store: ShadowTester(store, agreement_threshold=1.5),
        lambda store: ReplayTester(store, success_threshold=0),
        lambda store: ReplayTester(store, min_replays=0),
    ],
)
def test_impossible_thresholds_are_refused(store: ExecutionStore, make: Callable[[ExecutionStore], Any]) -> None:
    """A threshold is a share above 0, and a number of replays at least 1."""
    with pytest.raises(InvalidSetting):
        make(store)


@pytest.mark.parametrize("rules", [RehearsalRules(read_only=True), RehearsalRules(idempotent=True)])
def test_a_rehearsal_is_stored_in_the_table_of_its_strategy(
    store: ExecutionStore, registry: ToolRegistry, rules: RehearsalRules
) -> None:
    """A rehearsal by shadow is a shadow test, one by replay a replay test; each with the hash of the candidate."""
    registry.deploy("price", OLD, deployed_at=NOW - 2 * HOUR)
    record(store)
    rehearser = Rehearser(store, registry, rules={"price": rules}, run=in_process)
    passed = rehearser.rehearse("price", RIGHT, now=NOW)
    assert passed.verdict is Verdict.PASSES
    assert rehearser.rehearse("price", BROKEN, now=NOW).verdict is Verdict.REFUSED
    stored = store.rehearsals.shadow("price") if rules.read_only else store.rehearsals.replay("price")
    assert [(row.passed, row.candidate_sha256 == passed.new_sha256) for row in stored] == [(False, False), (True, True)]
    with pytest.raises(UnknownTool, match="no live version"):
        rehearser.rehearse("nothere", RIGHT, now=NOW)


def test_a_deployment_by_somebody_while_it_is_rehearsed(store: ExecutionStore, registry: ToolRegistry) -> None:
    """What was rehearsed beside a version that is live no more does not pass, and the reason says so."""
    registry.deploy("price", OLD, deployed_at=NOW - 2 * HOUR)
    record(store)

    def run(source: bytes, *given: Any) -> list[Outcome]:
        if store.versions.live("price").version_number == 1:  # type: ignore[union-attr]
            registry.deploy("price", f"{OLD}# by a person\n")
        return in_process(source, *given)

    rules = {"price": RehearsalRules(read_only=True)}
    done = Rehearser(store, registry, rules=rules, run=run).rehearse("price", RIGHT, now=NOW)
    assert (done.verdict, [reason.check for reason in done.reasons]) == (Verdict.ASK, ["live"])


def test_the_sandbox_is_where_it_runs(store: ExecutionStore, registry: ToolRegistry) -> None:
    """Without another runner both versions run in the sandbox, and the verdict is the same."""
    registry.deploy("price", OLD, deployed_at=NOW - 2 * HOUR)
    record(store)
    rehearser = Rehearser(store, registry, rules={"price": RehearsalRules(read_only=True)})
    assert rehearser.rehearse("price", RIGHT, now=NOW).verdict is Verdict.PASSES


def test_secrets_are_in_no_report(store: ExecutionStore, registry: ToolRegistry) -> None:
    """The value of a granted variable is in no output of a rehearsal, whatever a version returns."""
    old = OLD.replace('"EUR"', '"sesame-open-1234"')
    registry.deploy("price", old, deployed_at=NOW - 2 * HOUR)
    record(store)
    rules = RehearsalRules(read_only=True, grants=("KEY",))
    rehearser = Rehearser(
        store, registry, rules={"price": rules}, environment={"price": {"KEY": "sesame-open-1234"}}, run=in_process
    )
    done = rehearser.rehearse("price", old.replace("* count", "+ count"), now=NOW)
    assert done.to_dict()["inputs"]
    assert "sesame" not in str(done.to_dict())
    assert "sesame" not in str(store.rehearsals.shadow("price"))


@pytest.fixture
def whole(url: str, tmp_path: Path) -> Iterator[Rollguard]:
    """The whole system with a tool that may be run, whose recorded calls are of now."""
    rules = {"price": RehearsalRules(read_only=True)}
    (tmp_path / "tools").mkdir()
    with Rollguard(Settings(database=url, tools_dir=tmp_path / "tools")) as guard:
        guard.rehearser = Rehearser(guard.store, guard.registry, rules=rules, run=in_process)
        guard.deploy("price", OLD)
        guard.store.store_tool_executions(
            {"tool_name": "price", "success": True, "parameters": {"amount": str(n)}} for n in range(12)
        )
        yield guard


def test_a_deployment_that_is_rehearsed(whole: Rollguard) -> None:
    """It goes live only if it breaks nothing and changes nothing; otherwise nothing is deployed."""
    with pytest.raises(RehearsalRefused, match="it breaks 9 of 9"):
        whole.deploy("price", OLD.replace("float(amount)", "float(amount) / 0"), rehearse=True)
    with pytest.raises(RehearsalUndecided, match="a person has to decide: it changes"):
        whole.deploy("price", OLD.replace("* count", "+ count"), rehearse=True)
    assert whole.store.versions.live("price").version_number == 1  # type: ignore[union-attr]
    assert whole.deploy("price", OLD.replace("count, ", "count , ") + "\n", rehearse=True).version_number == 2


def test_a_deployment_during_the_rehearsal(whole: Rollguard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rehearsed beside one live version does not replace another that came meanwhile."""
    rehearse = whole.rehearser.rehearse

    def slowly(*given: Any, **more: Any) -> Any:
        done = rehearse(*given, **more)
        whole.deploy("price", f"{OLD}# another\n")
        return done

    monkeypatch.setattr(whole.rehearser, "rehearse", slowly)
    with pytest.raises(DeploymentConflict):
        whole.deploy("price", f"{OLD}\n", rehearse=True)
    assert whole.store.versions.live("price").version_number == 2  # type: ignore[union-attr]


def test_an_investigation_runs_what_may_be_run(whole: Rollguard) -> None:
    """The whole system confirms a cause, and finds the least failing input, by running a tool that is read-only."""
    whole.store.store_tool_executions(
        {
            "tool_name": "price",
            "success": False,
            "error": "ValueError: could not convert string to float",
            "parameters": {"amount": f"{n},{n + 300}"},
        }
        for n in range(1, 13)
    )
    report = whole.investigator.investigate("price")
    assert report.causes[0].confirmed is True
    assert report.smallest == {"amount": "9,309"}


def test_an_investigation_runs_nothing_else(whole: Rollguard) -> None:
    """A tool that does not say that it may be run is not run, nor one whose parameters are not all recorded."""
    silent = Rehearser(whole.store, whole.registry, run=in_process)
    assert silent.runner("price", None) is None
    assert silent.runner("price", 1) is None
    assert whole.rehearser.runner("price", 1) is not None
    whole.deploy("price", OLD.replace("def price", "from rollguard import tool\n@tool(skip=['count'])\ndef price"))
    assert whole.rehearser.runner("price", None) is None
