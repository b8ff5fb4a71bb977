"""What the parameters of a call cost, if they are thousands of messages: by what is kept, not by what is passed.

A tool is given 5,000 messages of 1,000 characters: as a list of dicts, a list of dataclasses, a list of pydantic
models, and inside a framework's context, which is not recorded. Rollguard keeps the beginning, 16 KiB. The peer writes
all of it as JSON: `pydantic_core.to_json`, the fastest there is. The figures are the processor's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydantic_core
from pydantic import BaseModel

from benchmarks.harness import Aim, Options, Result, duration, medians, number, profile, ratio, versions
from rollguard.record.kept import Kept
from rollguard.store.executions.payloads import Payloads

_MESSAGES, _LENGTH = 5_000, 1_000
_CONTEXT_LIMIT, _OF_THE_PEER = 50e-6, 0.1


@dataclass
class Message:
    """A message as a framework keeps it."""

    role: str
    content: str


class MessageModel(BaseModel):
    """The same as a model."""

    role: str
    content: str


@dataclass
class RunContext:
    """What a framework gives its tools."""

    messages: list[Message]


RunContext.__module__ = "pydantic_ai"


def run(options: Options) -> Result:
    """Measure."""
    messages, repeats = (10, 1) if options.tiny else (_MESSAGES, 20)
    texts = [str(i % 10) * _LENGTH for i in range(messages)]
    given: dict[str, Any] = {
        "a context": RunContext([Message("user", text) for text in texts]),
        "dicts": [{"role": "user", "content": text} for text in texts],
        "dataclasses": [Message("user", text) for text in texts],
        "models": [MessageModel(role="user", content=text) for text in texts],
    }
    kept, payloads = Kept(_tool), Payloads()
    rows, aims = [], []
    for name, value in given.items():
        parameters = {"context" if name == "a context" else "messages": value, "city": "Oslo"}
        ours = partial(_record, kept, payloads, parameters)
        figures = medians(
            {
                "ours": partial(_each, ours, repeats),
                "peer": partial(_each, partial(pydantic_core.to_json, parameters), max(repeats // 10, 1)),
            },
            options.runs,
        )
        share = figures["ours"] / figures["peer"]
        rows.append([f"{number(messages)} messages: {name}", *map(duration, figures.values()), ratio(share)])
        if name in ("a context", "dicts"):
            met = figures["ours"] <= _CONTEXT_LIMIT
            aims.append(Aim(f"{name}: at most 50 µs", duration(figures["ours"]), met))
        else:
            aims.append(Aim(f"{name}: a tenth of writing all of it", ratio(share), share <= _OF_THE_PEER))
        if not aims[-1].met:
            aims[-1].profile = profile(partial(_each, ours, repeats))
    return Result(
        name="payload_cost",
        title="What large parameters cost",
        about=__doc__ or "",
        columns=["", "Rollguard", "`to_json` of the whole", "Rollguard : whole"],
        rows=rows,
        aims=aims,
        notes=[versions("pydantic-core")],
    )


def _tool(context: RunContext, messages: list[Any], city: str) -> None:
    """A tool with a context."""


def _record(kept: Kept, payloads: Payloads, parameters: dict[str, Any]) -> object:
    recorded, left_out = kept.parted(parameters)
    return payloads.encode("t", "parameters", recorded, left_out)


def _each(action: Callable[[], object], repeats: int) -> float:
    began = time.thread_time()
    for _ in range(repeats):
        action()
    return (time.thread_time() - began) / repeats
