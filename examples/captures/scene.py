"""Three tools with a week of calls: one was rolled back this morning, one is monitored, one only observes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from rollguard import Rollguard
from rollguard.monitor.deployment_monitor import DeploymentMonitor

_SETTINGS = """database = "sqlite:///{folder}/rollguard.db"
tools_dir = "tools"

[notify]
log = false

[tools.search_orders]
mode = "observe"
"""

_INVOICES = (
    '''import re


def invoice_total(text: str) -> float:
    """Add up the lines of an invoice."""
    amounts = re.findall(r"[0-9]+[.,][0-9]{2}", text)
    return sum(float(amount.replace(",", ".")) for amount in amounts)
''',
    '''def invoice_total(text: str) -> float:
    """Add up the lines of an invoice, faster."""
    return sum(float(word) for word in text.split() if "." in word)
''',
)
_WEATHER = (
    'def weather(city: str) -> str:\n    """Say what the weather is in a city."""\n    return f"{city}: sunny"\n',
    '''def weather(city: str, days: int = 1) -> str:
    """Say what the weather is in a city, for several days."""
    return f"{city}: sunny for {days} days"
''',
)
_SEARCH = (
    '''def search_orders(customer: str) -> list[str]:
    """Find the orders of a customer."""
    return [f"{customer}-1"]
''',
    '''def search_orders(customer: str) -> list[str]:
    """Find the orders of a customer, in the new index."""
    return [f"{customer}-1", f"{customer}-2"]
''',
)
_ERRORS = (
    "ValueError: could not convert string to float: '1.234,56'",
    "ValueError: could not convert string to float: 'CHF'",
)


def made(folder: Path, now: datetime) -> None:
    """Make the folder, its settings, tools and history, as they are at that time."""
    (folder / "tools").mkdir()
    settings = folder / "rollguard.toml"
    settings.write_text(_SETTINGS.format(folder=folder))
    chance = Random(7)
    with Rollguard.from_settings(settings, environ={}) as guard:
        for tool, codes in (("invoice_total", _INVOICES), ("weather", _WEATHER), ("search_orders", _SEARCH)):
            guard.deploy(
                tool,
                codes[0],
                reason="first version",
                created_by="ada",
                deployed_at=now - timedelta(days=8),
                watch=False,
            )
            _calls(guard, tool, now - timedelta(days=6), now - timedelta(hours=5), 240, chance, 0.04)
        _changed(guard, "invoice_total", _INVOICES[1], "faster", now - timedelta(hours=5), chance, 0.45)
        _changed(guard, "search_orders", _SEARCH[1], "the new index", now - timedelta(hours=3), chance, 0.35)
        _changed(guard, "weather", _WEATHER[1], "several days", now - timedelta(minutes=50), chance, 0.03)


def _changed(guard: Rollguard, tool: str, code: str, reason: str, at: datetime, chance: Random, failing: float) -> None:
    """Deploy a version, call it for half an hour, and check it then."""
    guard.deploy(tool, code, reason=reason, created_by="ada", deployed_at=at, watch=False)
    session_id = guard.monitor.start_monitoring(tool, at, now=at)
    until = at + timedelta(minutes=32)
    _calls(guard, tool, at, until, 40, chance, failing)
    monitor: DeploymentMonitor = guard.monitor
    monitor.auto_rollback_if_needed(tool, session_id, now=until)


def _calls(
    guard: Rollguard, tool: str, since: datetime, until: datetime, count: int, chance: Random, failing: float
) -> None:
    rows = []
    for number in range(count):
        failed = chance.random() < failing
        rows.append(
            {
                "tool_name": tool,
                "success": not failed,
                "duration_ms": round(chance.lognormvariate(3.5, 0.4), 2),
                "error": chance.choice(_ERRORS) if failed else None,
                "executed_at": since + (until - since) * ((number + chance.random()) / count),
                "parameters": {"request": number},
                "tags": {"tenant": chance.choice(("acme", "globex"))},
            }
        )
    guard.store.store_tool_executions(rows)


def now() -> datetime:
    """Return the time of the scene: that of the clock, since commands say how long ago things were."""
    return datetime.now(UTC)
