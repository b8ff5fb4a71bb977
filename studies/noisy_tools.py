"""Tools whose results vary from run to run, with chance and a clock of their own, so that a study can be repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from rollguard.rehearse import Call
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind

NAME = "look_up"
_INPUTS = [{"key": f"key {number}", "size": number % 7 + 2} for number in range(30)]
_BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
_BODIES = {
    "nothing": "return {'key': key, 'sum': size * 3}",
    "a time as text": "return {'key': key, 'at': now().isoformat()}",
    "a time as a number": "return {'key': key, 'at': now().timestamp()}",
    "an id": "return {'key': key, 'id': f'{chance.getrandbits(128):032x}'}",
    "an id that counts up": "return {'key': key, 'id': int(now().timestamp() * 1000) - 1_700_000_000_000}",
    "a time within a text": "return f'{key} was read at {now():%d %b %H:%M:%S} by worker {chance.randrange(4)}'",
    "the order of a list": "return {'found': chance.sample([f'{key}/{at}' for at in range(size)], size)}",
    "the order, and ids": (
        "rows = [{'name': f'{key}/{at}', 'id': chance.randrange(10**9)} for at in range(size)]\n"
        "    return {'rows': chance.sample(rows, size)}"
    ),
    "jitter of 1 %": "return {'key': key, 'load': size * chance.uniform(0.99, 1.01)}",
    "jitter around 0": "return {'key': key, 'offset': chance.gauss(0, 1)}",
    "a duration": "return {'key': key, 'took': chance.lognormvariate(1, 1)}",
    "a key that is not always there": "return {'key': key, **({'hint': 'cached'} if chance.random() < 0.4 else {})}",
    "the number of results": "return {'key': key, 'found': ['row'] * chance.randrange(1, 5)}",
    "one of three texts": "return {'key': key, 'says': chance.choice(('done', 'finished well', 'ready'))}",
    "a text, seldom": "return {'key': key, 'says': 'late' if chance.random() < 0.03 else 'in time'}",
    "a failure, seldom": "if chance.random() < 0.03:\n        raise OSError('lost')\n    return {'key': key}",
    "a failure, often": "if chance.random() < 0.3:\n        raise OSError('lost')\n    return {'key': key}",
    "a time, an id, the order and jitter": (
        "rows = [{'name': f'{key}/{at}', 'id': chance.randrange(10**9), 'score': at + 1.0} for at in range(size)]\n"
        "    load = size * chance.uniform(0.95, 1.05)\n"
        "    return {'at': now().isoformat(), 'rows': chance.sample(rows, size), 'load': load}"
    ),
}
TOOLS: list[tuple[str, bytes, list[dict[str, Any]]]] = [
    (name, f"def {NAME}(key, size):\n    {body}\n".encode(), _INPUTS) for name, body in _BODIES.items()
]


class Running:
    """Runs such tools in this process.

    Args:
        chance: the source of all that varies.
    """

    def __init__(self, chance: Random) -> None:
        self._chance, self._now = chance, _BEGAN

    def now(self) -> datetime:
        """Return the time, a little later at each call."""
        self._now += timedelta(milliseconds=self._chance.expovariate(0.05))
        return self._now

    def wait(self, time: timedelta) -> None:
        """Let time pass."""
        self._now += time

    def __call__(self, source: bytes, tool_name: str, inputs: Sequence[Any], limits: Limits) -> list[Outcome]:
        """Run a tool with each input."""
        module: dict[str, Any] = {"now": self.now, "chance": self._chance}
        exec(compile(source, "tool.py", "exec"), module)
        self._now += timedelta(milliseconds=self._chance.uniform(20, 200))  # a process starts
        return [self._once(module[tool_name], given) for given in inputs]

    def _once(self, function: Any, given: Any) -> Outcome:
        try:
            result = json.dumps(function(**given))
        except OSError as error:
            return Outcome(OutcomeKind.RAISED, error_type="OSError", error=str(error))
        return Outcome(OutcomeKind.RETURNED, result, duration_ms=1.0)


def recorded(source: bytes, inputs: Sequence[Any], run: Running) -> list[Call]:
    """Return the calls as they were recorded, an hour before."""
    calls = []
    for number, outcome in enumerate(run(source, NAME, inputs, Limits())):
        good = outcome.kind is OutcomeKind.RETURNED
        result = {"result": json.loads(outcome.result or "null")} if good else {"signature": "OSError: lost"}
        calls.append(Call(f"call {number}", inputs[number], good, **result))
    run.wait(timedelta(hours=1))
    return calls
