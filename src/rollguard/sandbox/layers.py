"""Find out which layers of the sandbox hold on this machine, by trying to get past each."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rollguard.sandbox.outcome import Limits, OutcomeKind
from rollguard.sandbox.run import Isolation, Run

LAYERS = {
    "environment": "no variables of the environment, and no files that were open before",
    "limits": "a bound on memory, processor, files and threads",
    "user": "an ordinary user without capabilities",
    "privileges": "no rights by programs that change the user",
    "files": "no files but the interpreter's libraries, and one temporary folder to write",
    "network": "no sockets but to declared hosts",
    "system calls": "no processes, tracing, namespaces, mounts or other system calls beside a list",
    "signals": "no signals to other processes",
}
"""What each layer keeps away."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the sandbox.

    Attributes:
        name: which one.
        holds: whether trying to get past it failed.
        why: what it keeps away, or what got past it and why.
    """

    name: str
    holds: bool
    why: str


@functools.cache
def layers() -> tuple[Layer, ...]:
    """Try in a child process to get past each layer, and return what came of it. Done once in a process.

    Raises:
        SandboxUnavailable: the system starts no process.
    """
    source = Path(__file__).with_name("probe.py").read_text("utf-8")
    with tempfile.TemporaryDirectory(prefix="rollguard-outside-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - only the sandbox is to be in the way of what is in it
        outside = Path(folder) / "outside"
        outside.write_text("x")
        outside.chmod(0o666)
        with Run(source.encode(), "probe", "probe.py", Limits(), Isolation.BEST_EFFORT, []) as run:
            return tuple(_layer(run, name, str(outside)) for name in LAYERS)


def _layer(run: Run, name: str, outside: str) -> Layer:
    asked = {"layer": name, "outside": outside, "parent": os.getpid()}
    outcome = run.outcome(json.dumps(asked).encode())
    if outcome.kind is OutcomeKind.RETURNED and outcome.result is not None:
        got = json.loads(outcome.result)
    else:
        got = f"not tried, because the try {outcome.error}"
    lacking = run.lacking.get(name)
    if not got and lacking is None:
        return Layer(name, holds=True, why=LAYERS[name])
    return Layer(name, holds=False, why="; ".join(filter(None, (lacking, got and f"got {got}"))))
