"""A week of a team's tools, for pages that have something to show: deployments, checks and rollbacks of the past.

Nothing of it is written into tables by hand: the tools are deployed, called, checked and rolled back as ever, at times
that lie in the past.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rollguard import Rollguard

_HOUR = timedelta(hours=1)
_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Phase:
    """How one version of a tool does.

    Attributes:
        hours_ago: when it was deployed.
        failing: the share of its calls that fail.
        ms: how long a call takes, typically.
        errors: what failed calls say; `{n}` is a number.
        by, reason: who deployed it, and why.
        rules: other rules of its monitoring.
    """

    hours_ago: float
    failing: float
    ms: float
    errors: tuple[str, ...] = ("TimeoutError: no answer after 30 s",)
    by: str = "maria"
    reason: str = "first version"
    rules: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Past:
    """One tool, and how often it is called in an hour."""

    name: str
    an_hour: float
    phases: tuple[Phase, ...]


_WORKS = 168.0
TOOLS = (
    Past("web_search", 40, (
        Phase(_WORKS, 0.03, 640),
        Phase(70, 0.02, 410, by="improver", reason="ask two indexes at once"),
    )),
    Past("currency_rates", 22, (
        Phase(_WORKS, 0.02, 120),
        Phase(26, 0.46, 118, ("KeyError: 'rates'", "KeyError: 'base'"), "improver", "read the bank's new format"),
    )),
    Past("calendar_lookup", 18, (Phase(_WORKS, 0.05, 85), Phase(5, 0.04, 80, reason="find recurring meetings too"))),
    Past("pdf_extract", 4, (
        Phase(_WORKS, 0.08, 1_900, ("PdfReadError: page {n} cannot be decoded",)),
        Phase(1.2, 0.1, 1_700, reason="keep the tables' columns"),
    )),
    Past("geo_lookup", 30, (
        Phase(_WORKS, 0.01, 45),
        Phase(3, 0.31, 48, ("ValueError: '{n}°' is no coordinate", "TypeError: float() argument is None"), "improver",
              "accept coordinates in degrees", (("mode", "observe"),)),
    )),
    Past("translate_text", 25, (Phase(_WORKS, 0.02, 310), Phase(20, 0.02, 980, reason="use the larger model"))),
    Past("ticket_search", 12, (Phase(_WORKS, 0.04, 150),)),
    Past("send_email", 9, (
        Phase(_WORKS, 0.03, 220, ("SMTPRecipientsRefused: mailbox {n} is unknown",)),
        Phase(98, 0.55, 210, ("UnicodeEncodeError: 'ascii' codec can't encode character",), "jon", "plain-text mails"),
        Phase(75, 0.03, 225, ("SMTPRecipientsRefused: mailbox {n} is unknown",), "jon", "plain-text mails, in UTF-8"),
    )),
    Past("order_status", 33, (Phase(_WORKS, 0.01, 60), Phase(50, 0.015, 58, reason="cache the customer's orders"))),
)  # fmt: skip
WEAK, WEAK_SOURCE = (
    "unit_price",
    '''"""What one piece costs."""


def unit_price(amount: str, count: int) -> dict:
    return {"price": float(amount) / count, "currency": "EUR"}
''',
)
BESIDE = "order_status"
RECORDED_ONLY = Past("legacy_lookup", 6, (Phase(_WORKS, 0.12, 700),))


def live_through(guard: Rollguard, now: datetime, *, hours: float = _WORKS) -> None:
    """Let the tools of `TOOLS` have their week, up to `now`.

    Args:
        hours: the calls of so many hours; fewer take less time.
    """
    chance = random.Random(7)
    for past in TOOLS:
        for number, phase in enumerate(past.phases, start=1):
            _deploy(guard, past, number, phase, now, hours, chance)
    guard.store.store_tool_executions(_calls(RECORDED_ONLY, RECORDED_ONLY.phases[0], None, now - _WEEK, now, chance))


def begin_rollout(guard: Rollguard, *, calls: int = 400) -> None:
    """Deploy a third version of a tool to some calls only, and let it be called."""
    code = source(BESIDE, 3, "ask the warehouse too")
    guard.deploy(BESIDE, code, created_by="maria", reason="ask the warehouse too", rollout=[0.1, 0.25, 0.5])
    for number in range(calls):
        guard.registry.call(BESIDE, query=f"order {number}")
    guard.registry.recorder.flush()


def propose_repair(guard: Rollguard, now: datetime) -> None:
    """Let a tool fail with a class of inputs, and the loop propose a repair."""
    guard.registry.deploy(
        WEAK, WEAK_SOURCE, created_by="jon", reason="first version", deployed_at=now - timedelta(hours=60)
    )
    guard.store.store_tool_executions(_priced(number, now - _HOUR * (2 + number / 3)) for number in range(90))
    guard.loop.tick(now)


def _priced(number: int, at: datetime) -> dict[str, Any]:
    amount, count = (f"1,{number:03}.50", 2) if number % 3 == 0 else (f"{1000 + number}.50", 1 + number % 4)
    failed = "," in amount
    return {
        "tool_name": WEAK,
        "version_number": 1,
        "parameters": {"amount": amount, "count": count},
        "success": not failed,
        "result": None if failed else {"price": float(amount) / count, "currency": "EUR"},
        "error": f"ValueError: could not convert string to float: '{amount}'" if failed else None,
        "error_type": "ValueError" if failed else None,
        "duration_ms": 1.0 + number % 3,
        "executed_at": at,
    }


def source(tool: str, version: int, reason: str) -> str:
    """The code of a version."""
    steps = "".join(f"    found = {{**found, 'step': {step}}}\n" for step in range(1, version))
    return (
        f'"""{reason[0].upper()}{reason[1:]}."""\n\n\n'
        f"def {tool}(query: str{', limit: int = 10' * (version > 1)}) -> dict:\n"
        f"    found = {{'query': query.strip()}}\n{steps}"
        f"    return found\n"
    )


def _deploy(
    guard: Rollguard, past: Past, number: int, phase: Phase, now: datetime, hours: float, chance: random.Random
) -> None:
    """Deploy one version, let it be called and checked until the next one, and rolled back if it is worse."""
    began = now - timedelta(hours=phase.hours_ago)
    later = [timedelta(hours=each.hours_ago) for each in past.phases[number:]]
    until = now - later[0] if later else now
    version = guard.registry.deploy(
        past.name, source(past.name, number, phase.reason), created_by=phase.by, reason=phase.reason, deployed_at=began
    )
    first = max(began, now - timedelta(hours=hours)) if number == 1 else began
    if number == 1:
        guard.store.store_tool_executions(_calls(past, phase, version, first, until, chance))
        return
    session = guard.monitor.start_monitoring(past.name, began, now=began, **dict(phase.rules))
    step = timedelta(minutes=15)
    at = began
    while at < min(until, began + timedelta(hours=25)):
        end = min(at + step, until)
        guard.store.store_tool_executions(_calls(past, phase, version, at, end, chance))
        at = end
        if not guard.monitor.get_session(session).active:
            continue
        done = guard.monitor.auto_rollback_if_needed(past.name, session, now=at)
        if done["rollback_performed"]:
            before = past.phases[number - 2]
            guard.store.store_tool_executions(_calls(past, before, number - 1, at, until, chance))
            return
        step = min(step * 1.4, 3 * _HOUR)
    guard.store.store_tool_executions(_calls(past, phase, version, at, until, chance))
    if at < until:  # its time of monitoring is over
        guard.monitor.auto_rollback_if_needed(past.name, session, now=until)


def _calls(
    past: Past, phase: Phase, version: int | None, start: datetime, end: datetime, chance: random.Random
) -> Iterator[dict[str, Any]]:
    at = start
    while True:
        busy = 1.6 if 7 <= at.hour < 19 else 0.5
        at += timedelta(hours=chance.expovariate(past.an_hour * busy))
        if at >= end:
            return
        failed = chance.random() < phase.failing
        error = chance.choice(phase.errors).format(n=chance.randrange(100)) if failed else None
        yield {
            "tool_name": past.name,
            "success": not failed,
            "duration_ms": round(chance.lognormvariate(0, 0.35) * phase.ms, 2),
            "error": error,
            "error_type": error.partition(":")[0] if error else None,
            "parameters": {"query": f"question {chance.randrange(500)}"},
            "executed_at": at,
            "version_number": version,
        }
