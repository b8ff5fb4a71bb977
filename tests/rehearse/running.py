"""Runs a tool's source with inputs, without a sandbox: in this process, or in one child for all inputs."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind
from rollguard.sandbox.tool_file import NotATool, find_tool, run_module

_CHILD = """
import json, sys, time
source, name, inputs = json.load(sys.stdin)
out, sys.stdout = sys.stdout, sys.stderr
module = {"__name__": "tool"}
exec(compile(source, "tool.py", "exec"), module)
for given in inputs:
    began = time.perf_counter()
    try:
        said = ["returned", json.dumps(module[name](**given), default=repr), None, None]
    except Exception as error:
        said = ["raised", None, type(error).__name__, str(error)]
    print(json.dumps([*said, (time.perf_counter() - began) * 1000]), file=out, flush=True)
"""


def in_child(source: bytes, tool_name: str, inputs: Sequence[Mapping[str, Any]], limits: Limits) -> list[Outcome]:
    """Run a tool's function of its own name with each input, in one child process."""
    request = json.dumps([source.decode(), tool_name, list(inputs)])
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    timed_out = False
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=limits.seconds)
        said = done.stdout
    except subprocess.TimeoutExpired as error:
        timed_out, said = True, (error.stdout or b"").decode()
    outcomes = []
    for line in said.splitlines():
        kind, result, error_type, problem, ms = json.loads(line)
        outcomes.append(Outcome(OutcomeKind(kind), result, error_type, problem, duration_ms=ms))
    if len(outcomes) < len(inputs):
        kind = OutcomeKind.TIMED_OUT if timed_out else OutcomeKind.DIED if outcomes else OutcomeKind.NOT_RUN
        outcomes.append(Outcome(kind, error=kind.value))
        rest = inputs[len(outcomes) :]
        outcomes += in_child(source, tool_name, rest, limits) if rest and kind is not OutcomeKind.NOT_RUN else []
    return [*outcomes, *(Outcome(OutcomeKind.NOT_RUN) for _ in inputs[len(outcomes) :])]


def in_process(source: bytes, tool_name: str, inputs: Sequence[Mapping[str, Any]], limits: Limits) -> list[Outcome]:
    """Run a tool with each input here: for code that is known to be harmless."""
    from rollguard.record.decorator import mark_of

    try:
        tool = find_tool(run_module(f"rehearsed_{tool_name}", source, "tool.py"), tool_name, mark_of)
    except (NotATool, Exception) as error:  # noqa: BLE001 - a tool's own
        return [Outcome(OutcomeKind.NOT_RUN, error=f"{type(error).__name__}: {error}") for _ in inputs]
    return [_once(tool.function, json.loads(json.dumps(given))) for given in inputs]


def _once(function: Any, given: dict[str, Any]) -> Outcome:
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            result = json.dumps(function(**given), default=repr)
    except Exception as error:  # noqa: BLE001 - a tool's own
        return Outcome(OutcomeKind.RAISED, error_type=type(error).__name__, error=str(error))
    return Outcome(OutcomeKind.RETURNED, result, duration_ms=(time.perf_counter() - began) * 1000)
