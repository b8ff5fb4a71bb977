"""Find errors after which the same input passed, with the same version: transient ones. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from rollguard.improve.brief import Recovered
from rollguard.model.execution import Execution

_QUALIFIED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_Key = tuple[str, int | None]


def recovered(
    failed: Sequence[Execution],
    passed: Sequence[Execution],
    parameters_of: Callable[[Execution], Any],
    version_of: Callable[[Execution], int | None],
) -> tuple[Recovered, ...]:
    """Return the types of errors after which the same input passed with the same version, the most frequent first.

    Args:
        failed, passed: recorded calls; those whose parameters are not known as a whole do not count.
        parameters_of, version_of: read them from a call.
    """

    def key(call: Execution) -> _Key | None:
        parameters = parameters_of(call)
        return None if parameters is None else (json.dumps(parameters, sort_keys=True), version_of(call))

    last: dict[_Key | None, datetime] = {}
    for call in passed:
        if call.executed_at is not None and (which := key(call)) is not None:
            last[which] = max(call.executed_at, last.get(which, call.executed_at))
    counted: Counter[tuple[str, str]] = Counter()
    later: Counter[tuple[str, str]] = Counter()
    for call in failed:
        which = key(call)
        if call.error_type and call.executed_at is not None and which is not None:
            kind = call.error_type, _written(call)
            counted[kind] += 1
            later[kind] += which in last and last[which] > call.executed_at
    return tuple(
        Recovered(error_type=kind[0], written=kind[1], failures=count, passed_later=later[kind])
        for kind, count in counted.most_common()
        if later[kind]
    )


def _written(call: Execution) -> str:
    """Return the type as the traceback's last line that names it writes it; else its name alone."""
    name = str(call.error_type)
    for line in reversed((call.traceback or "").splitlines()):
        written = line.partition(":")[0].strip()
        if written.rpartition(".")[2] == name.rpartition(".")[2] and _QUALIFIED.fullmatch(written):
            return written
    return name
