"""The improvers without a model propose only what the evidence says."""

from __future__ import annotations

import ast
import asyncio
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import ExecutionStore, ToolRegistry
from rollguard.improve import Brief, EarlierVersion, Recovered, RetryTransient
from rollguard.improve.problems import problems_of
from rollguard.improve.undo import undone
from rollguard.rehearse import Weight
from tests.conftest import NOW
from tests.improve.helpers import HOUR, OLD, RIGHT, a_brief, briefer
from tests.rehearse.test_gate import recorded, tried

WORSE = OLD.replace("* count", "* count / (count - 1)")


def since(version: int, code: str, **given: Any) -> Brief:
    """A brief by which calls fail since a version; `code` is live."""
    import hashlib

    return a_brief(
        source=code,
        since_version=version,
        base_sha256=hashlib.sha256(code.encode()).hexdigest(),
        causes=({"kind": "version", "text": f"since version {version} (9 of 9 calls failed)"},),
        **given,
    )


def deploy(registry: ToolRegistry, *codes: str) -> None:
    """Deploy one version after the other."""
    for number, code in enumerate(codes):
        registry.deploy("price", code, deployed_at=NOW - (len(codes) - number) * HOUR)


def test_back_to_the_version_that_was_better(store: ExecutionStore, registry: ToolRegistry) -> None:
    """With "since version N" it proposes the bytes of the version before N, and says so; else it proposes nothing."""
    deploy(registry, RIGHT, OLD, WORSE)
    proposal = EarlierVersion(store).propose(since(3, WORSE))
    assert proposal is not None
    assert (proposal.source, proposal.author) == (OLD.encode(), "earlier_version")
    assert proposal.reason == "back to version 2, since calls fail since version 3 (9 of 9 calls failed)"
    assert EarlierVersion(store).propose(since(1, WORSE)) is None
    assert EarlierVersion(store).propose(a_brief(source=WORSE)) is None
    assert EarlierVersion(store).propose(since(3, OLD)) is None
    assert EarlierVersion(store).propose(since(3, "def price(amount): pass\n")) is None


BAD = "def price(amount, count=1):\n    total = float(amount[1:]) * count\n    return {'total': total}\n"
GOOD = BAD.replace("amount[1:]", "amount")


@pytest.mark.parametrize(
    ("live", "without"),
    [
        (f"# later\n{BAD}\n\ndef more(): ...\n", f"# later\n{GOOD}\n\ndef more(): ...\n"),
        (BAD.replace("* count", "* int(count)"), None),
    ],
)
def test_later_changes_stay(store: ExecutionStore, registry: ToolRegistry, live: str, without: str | None) -> None:
    """Where a later version is live, only the change that brought the failures is undone, if no other touches it."""
    deploy(registry, GOOD, BAD, live)
    proposal = EarlierVersion(store).propose(since(2, live))
    if without is None:
        assert proposal is None
    else:
        assert proposal is not None
        assert proposal.source.decode() == without
        assert proposal.reason.startswith("undoes what version 2 changed against version 1, since calls fail since")


@given(st.lists(st.integers(0, 4), max_size=8), st.lists(st.integers(0, 4), max_size=8))
def test_undoing_alone_gives_what_was_before(before: list[int], after: list[int]) -> None:
    """Without a later change, what is left is the source as it was; without the change itself, what is there now."""
    old, new = (b"".join(b"%d\n" % line for line in lines) for lines in (before, after))
    assert undone(old, new, new) == old
    assert undone(new, new, old) == old


def test_the_evidence_is_found_in_recorded_calls(store: ExecutionStore, registry: ToolRegistry) -> None:
    """From recorded calls to the proposal: failures since a version lead back to the one before it."""
    deploy(registry, OLD, WORSE)

    def record(success: bool, at: datetime, first: int) -> None:
        store.store_tool_executions(
            {
                "tool_name": "price",
                "success": success,
                "error": None if success else "ZeroDivisionError: float division by zero",
                "parameters": {"amount": str(first + number), "count": 1},
                "executed_at": at + number * HOUR / 3600,
            }
            for number in range(30)
        )

    record(True, NOW - 1.5 * HOUR, 100)
    record(False, NOW - 0.5 * HOUR, 200)
    brief = briefer(store, registry).brief("price", now=NOW)
    assert brief.since_version == 2
    proposal = EarlierVersion(store).propose(brief)
    assert proposal is not None
    assert proposal.source == OLD.encode()


def test_not_back_to_what_was_bad(store: ExecutionStore, registry: ToolRegistry) -> None:
    """A version in quarantine, one that was rolled back, and one that breaks callers are not proposed."""
    from rollguard import ToolVersionManager

    deploy(registry, RIGHT, WORSE)
    ToolVersionManager(store, registry).rollback_to_version("price", 1, reason="worse", now=NOW - HOUR / 2)
    third = OLD.replace("EUR", "USD")
    registry.deploy("price", third, deployed_at=NOW - HOUR / 4)
    proposal = EarlierVersion(store).propose(since(3, third))
    assert proposal is not None
    assert proposal.source == RIGHT.encode()
    fewer = "def price(amount):\n    return {}\n"
    registry.deploy("other", fewer.replace("price", "other"), deployed_at=NOW - 2 * HOUR)
    registry.deploy("other", OLD.replace("price", "other"), deployed_at=NOW - HOUR)
    brief = since(2, OLD.replace("price", "other")).model_copy(update={"tool_name": "other", "function": "other"})
    assert EarlierVersion(store).propose(brief) is None


# --- retries ----------------------------------------------------------------------------------------------------------

PLAIN = '"""Weather."""\n\nimport json\n\nURL = "x"\n\n\ndef weather(city, get):\n    return json.loads(get(city))\n'
TIMEOUTS = Recovered(error_type="TimeoutError", written="TimeoutError", failures=9, passed_later=8)


def weather(source: str = PLAIN, *recovered: Recovered, **declared: Any) -> Brief:
    return a_brief(
        tool_name="weather",
        function="weather",
        source=source,
        recovered=recovered or (TIMEOUTS,),
        declared=declared or {"idempotent": True},
    )


def retried(brief: Brief) -> str:
    proposal = RetryTransient().propose(brief)
    assert proposal is not None
    assert list(problems_of(proposal.source, brief)) == []
    return proposal.source.decode()


class Flaky:
    """Fails so often, then returns the city as JSON."""

    def __init__(self, failures: int, error: type[BaseException] = TimeoutError) -> None:
        self.left, self.calls, self._error = failures, 0, error

    def __call__(self, city: str) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self._error("slow")
        return f'"{city}"'


def run(source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, with pauses that take no time."""
    module: dict[str, Any] = {}
    exec(compile(source, "weather.py", "exec"), module)
    for name, pause in (("time", lambda _seconds: None), ("asyncio", lambda _seconds: asyncio.wait([]))):
        if name in module:
            monkeypatch.setattr(module[name], "sleep", pause)
    return module


def test_it_retries_what_was_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two transient errors are retried, the third is raised, and another error at once; the reason has the numbers."""
    brief = weather()
    source = retried(brief)
    assert source.startswith(
        '"""Weather."""\n\nimport json\nimport functools\nimport time\n\n\ndef _retried(function):'
    )
    assert "\n\n@_retried\ndef weather(city, get):" in source
    tool = run(source, monkeypatch)["weather"]
    for failures, error, calls in ((0, TimeoutError, 1), (2, TimeoutError, 3), (3, TimeoutError, 3), (1, KeyError, 1)):
        get = Flaky(failures, error)
        if failures > 2 or error is KeyError:
            with pytest.raises(error):
                tool("Bonn", get)
        else:
            assert tool("Bonn", get=get) == "Bonn"
        assert get.calls == calls
    proposal = RetryTransient().propose(brief)
    assert proposal is not None
    assert proposal.reason == "retries TimeoutError: in 8 of 9 failures the same input passed later"


def test_in_each_form_of_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked functions, coroutines, classes, Windows' line ends and indented code keep their form."""
    marked = "from rollguard import tool\n\n\n@tool(idempotent=True)\ndef weather(city, get):\n    return get(city)\n"
    assert "@tool(idempotent=True)\n@_retried\ndef weather" in retried(weather(marked))
    slow = "async def weather(city, get):\n    return get(city)\n"
    source = retried(weather(slow))
    assert source.startswith("import functools\nimport asyncio\n")
    found = run(source, monkeypatch)["weather"]
    assert asyncio.iscoroutinefunction(found)
    cls = (
        "class Weather:\n    def get_tool_definition(self):\n        return {}\n\n"
        "    def execute(self, city, get):\n        return get(city)\n"
    )
    source = retried(weather(cls))
    assert "    @_retried\n    def execute" in source
    assert run(source, monkeypatch)["Weather"]().execute("Bonn", Flaky(2)) == '"Bonn"'
    windows = retried(weather(PLAIN.replace("\n", "\r\n")))
    assert windows.count("\n") == windows.count("\r\n")
    library = "import httpx\n\ndef weather(city, get):\n    return get(city)\n"
    slow_read = Recovered(error_type="ReadTimeout", written="httpx.ReadTimeout", failures=3, passed_later=3)
    assert "except (TimeoutError, httpx.ReadTimeout):" in retried(weather(library, slow_read, TIMEOUTS))


@pytest.mark.parametrize(
    "brief",
    [
        weather(PLAIN, idempotent=False, side_effects=["mail"]),
        weather(PLAIN, TIMEOUTS.model_copy(update={"passed_later": 1})),
        weather(PLAIN, Recovered(error_type="KeyError", written="KeyError", failures=9, passed_later=9)),
        weather(PLAIN, Recovered(error_type="ReadTimeout", written="httpx.ReadTimeout", failures=9, passed_later=9)),
        weather("class TimeoutError(Exception): ...\n" + PLAIN),
        weather("from time import time\n" + PLAIN),
        weather("def weather(city):\n    yield city\n"),
        weather("weather = lambda city: city\n"),
    ],
    ids=["not idempotent", "few", "another error", "not imported", "another type", "another time", "yields", "lambda"],
)
def test_no_retry(brief: Brief) -> None:
    """Nothing is proposed for a tool that may not be called again, without evidence, or where it would not fit."""
    assert RetryTransient().propose(brief) is None


def test_not_twice() -> None:
    """A tool that has its retries gets no more."""
    brief = weather()
    assert RetryTransient().propose(weather(retried(brief))) is None
    assert ast.parse(retried(brief))


def test_the_gate_reads_a_retry_as_what_it_is() -> None:
    """The gate refuses neither the form of retries nor what they do: fixes that luck gives ask a person."""
    brief = a_brief(recovered=(TIMEOUTS,), declared={"read_only": True})
    done = tried(retried(brief), calls=recorded(bad=0))
    assert {(reason.weight, reason.check) for reason in done.reasons} == {(Weight.ASK, "fixes")}
