"""An investigation says what failed, since when and why, and where a tool may be run it confirms that by running it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from rollguard import ExecutionStore
from rollguard.errors import InvalidInput, UnknownTool, UnknownVersion
from rollguard.investigate import Investigator
from rollguard.sandbox.outcome import Frame, Outcome, OutcomeKind
from tests.conftest import NOW, Guard

HOUR, DAY, SECOND = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)
PLACE = {"function": "my_tool", "line": 2, "text": "return x + 2"}


def fails(given_to: dict[str, Any]) -> bool:
    return given_to.get("units") is None


def inputs(number: int) -> dict[str, Any]:
    units = {} if number % 4 == 0 else {"units": "metric"}
    return {"city": ["Bonn", "Kiel", "Ulm"][number % 3], "days": number % 7, **units}


def record(store: ExecutionStore, number: int = 80, *, tool: str = "my_tool", **more: Any) -> None:
    """So many calls of which every fourth lacks `units` and fails."""
    store.store_tool_executions(
        {
            "tool_name": tool,
            "success": not fails(inputs(place)),
            "duration_ms": 10.0 + place,
            "parameters": inputs(place),
            "executed_at": NOW - 2 * HOUR + place * SECOND,
            **({"error": f"KeyError: 'u{place}'", "failed_at": PLACE, **more} if fails(inputs(place)) else more),
        }
        for place in range(number)
    )


def run(given_to: Sequence[dict[str, Any]]) -> list[Outcome]:
    """The tool, as the sandbox runs it."""
    return [
        Outcome(OutcomeKind.RAISED, error_type="KeyError", frame=Frame("my_tool", 2, "x"))
        if fails(one)
        else Outcome(OutcomeKind.RETURNED, "1")
        for one in given_to
    ]


def test_what_it_reports(guard: Guard) -> None:
    """The report has the signature, the cause, durations, the code and the diff that brought it, and is kept."""
    guard.deploy(1, at=NOW - 5 * DAY)
    guard.deploy(2, at=NOW - DAY)
    record(guard.store)
    report = Investigator(guard.store).investigate("my_tool", now=NOW)
    (signature,) = report.signatures
    assert signature["signature"] == "KeyError: <text> in my_tool: return x + 2"
    assert (signature["count"], signature["version_number"], signature["failed_at"]) == (20, 2, PLACE)
    assert (signature["first_seen"], len(signature["samples"])) == ((NOW - 2 * HOUR).isoformat(), 3)
    (cause,) = report.causes
    assert (cause.kind, cause.predicate, cause.failures, cause.calls) == ("missing", "$.units is missing", 20, 20)
    assert cause.confirmed is None
    assert report.latency["failed"] == {"calls": 20, "mean": 48, "p50": 46, "p95": 82}
    assert report.source is not None
    assert "> " in report.source["text"]
    assert "+    return x + 2" in report.source["diff"]
    assert any("it was not run" in note for note in report.notes)
    (kept,) = guard.store.investigations.recent("my_tool")
    assert kept.pop("report_id") == 1
    assert kept == json.loads(json.dumps(report.to_dict()))


def test_a_tool_that_may_be_run(store: ExecutionStore) -> None:
    """The suspected part of a passing call cures a failing one, and the other way round; the least input is found."""
    record(store)
    asked: list[Any] = []
    investigator = Investigator(store, runner=lambda name, version: (asked.append((name, version)), run)[1])
    report = investigator.investigate("my_tool", now=NOW, keep=False)
    assert asked == [("my_tool", None)]
    assert report.causes[0].confirmed is True
    assert report.smallest == {}
    assert store.investigations.recent("my_tool") == []


def test_a_cause_that_is_none(store: ExecutionStore) -> None:
    """If the change of the suspected part does not cure the call, the cause is not confirmed."""
    record(store)

    def other(given_to: Sequence[dict[str, Any]]) -> list[Outcome]:
        kinds = [OutcomeKind.RAISED if one.get("days") in (0, 4, 1, 5) else OutcomeKind.RETURNED for one in given_to]
        return [Outcome(kind) for kind in kinds]

    report = Investigator(store, runner=lambda _name, _version: other).investigate("my_tool", now=NOW)
    assert report.causes[0].predicate == "$.units is missing"
    assert report.causes[0].confirmed is False


def test_redacted_calls_are_not_run(store: ExecutionStore) -> None:
    """What was redacted is never guessed: such calls are counted, and nothing is run with them."""
    store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": False,
            "parameters": {"password": "x"},
            "executed_at": NOW - HOUR + place * SECOND,
        }
        for place in range(9)
    )

    def never(given_to: Sequence[dict[str, Any]]) -> list[Outcome]:
        raise AssertionError(given_to)

    report = Investigator(store, runner=lambda _name, _version: never).investigate("my_tool", now=NOW)
    assert report.smallest is None
    assert "9 failed calls cannot be run again: redacted, cut or unknown" in report.notes


def test_since_a_version(guard: Guard) -> None:
    """Where a version brought the failures, that is the cause, also for calls that name none."""
    guard.deploy(1, at=NOW - 5 * DAY)
    guard.deploy(2, at=NOW - DAY)
    for version, bad in ((1, False), (2, True)):
        guard.store.store_tool_executions(
            {
                "tool_name": "my_tool",
                "success": not bad,
                "parameters": {"n": place % 5},
                "executed_at": NOW - (3 - version) * DAY + DAY / 2 + place * SECOND,
            }
            for place in range(30)
        )
    investigator = Investigator(guard.store)
    assert investigator.investigate("my_tool", now=NOW).causes[0].predicate == "since version 2"
    report = investigator.investigate("my_tool", 2, now=NOW)
    assert (report.version_number, report.failures, report.causes[0].predicate) == (2, 30, "since version 2")
    assert investigator.investigate("my_tool", 1, now=NOW).failures == 0


def test_an_outside_cause(store: ExecutionStore) -> None:
    """Where other tools failed at the same time, the cause is outside of the tool."""
    for tool in ("my_tool", "a", "b", "c"):
        store.store_tool_executions(
            {
                "tool_name": tool,
                "success": not 600 <= place < 660,
                "error_type": "ConnectionError" if 600 <= place < 660 else None,
                "parameters": {"n": place % 5},
                "executed_at": NOW - 20 * HOUR + place * 60 * SECOND,
            }
            for place in range(1_000)
        )
    store.fold()
    report = Investigator(store).investigate("my_tool", now=NOW)
    assert (report.causes[0].kind, report.causes[0].failures) == ("outside", 60)
    assert store.investigations.outside(NOW - HOUR) == {"my_tool"}


def test_what_cannot_be_investigated(guard: Guard) -> None:
    """An unknown tool or version, and no name of a tool, are refused; a tool without failures has no cause."""
    guard.deploy(1, at=NOW - DAY)
    investigator = Investigator(guard.store)
    with pytest.raises(UnknownTool, match="rollguard tools"):
        investigator.investigate("other", now=NOW)
    with pytest.raises(UnknownVersion):
        investigator.investigate("my_tool", 7, now=NOW)
    with pytest.raises(InvalidInput):
        investigator.investigate("a\\b", now=NOW)
    report = investigator.investigate("my_tool", now=NOW)
    assert (report.calls, report.causes[0].kind, report.source) == (0, "none", None)


def test_markdown_keeps_recorded_text_as_text(store: ExecutionStore) -> None:
    """What a tool said cannot become a heading, a link or the end of a code block."""
    record(store, error="ValueError: ``` # Heading [x](y)\n# More", failed_at=None)
    text = Investigator(store).investigate("my_tool", now=NOW).to_markdown()
    assert text.startswith("# Why my_tool fails\n\n20 of 80 calls")
    assert "- `$.units is missing (20 of 20 calls failed, q = " in text
    assert "\n# Heading" not in text
    assert "```` ValueError: ``` # Heading" in text


def test_calls_are_compared_with_calls_of_the_same_time(store: ExecutionStore) -> None:
    """With far more calls than are read, neither the version nor the hour is a cause."""
    store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": place % 30 > 0,
            "version_number": 1 if place < 2_000 else 2 if place < 3_500 else 3,
            "parameters": {"days": place * 7 % 31},
            "executed_at": NOW - 6 * DAY + place * DAY / 1_000,
            **({} if place % 30 else {"error": "ValueError: no", "error_type": "ValueError"}),
        }
        for place in range(5_000)
    )
    report = Investigator(store).investigate("my_tool", now=NOW)
    assert [cause.kind for cause in report.causes] == ["none"]
    (signature,) = report.signatures
    assert (signature["count"], signature["version_number"]) == (167, 1)
    assert (report.calls - report.failures, report.notes[:-1]) == (pytest.approx(970, abs=30), [])


def test_an_old_error_is_traced_to_its_first_call(store: ExecutionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the latest failures are read, a signature still has its first call and its version."""
    monkeypatch.setattr("rollguard.investigate.investigator._MOST", 20)
    store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": False,
            "version_number": 1 if place < 30 else 2,
            "executed_at": NOW - DAY + place * SECOND,
            "error": "ValueError: no" if place else "KeyError: 'other'",
            "error_type": "ValueError",
        }
        for place in range(60)
    )
    (signature,) = Investigator(store).investigate("my_tool", now=NOW).signatures
    assert signature["first_seen"] == (NOW - DAY + SECOND).isoformat()
    assert (signature["count"], signature["version_number"]) == (20, 1)
