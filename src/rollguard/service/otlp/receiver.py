"""Record the calls of tools that spans are of."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rollguard.app import Rollguard
from rollguard.errors import InvalidInput
from rollguard.model.execution import Execution
from rollguard.model.log import logger_of
from rollguard.model.span import Decide, KeptSpan
from rollguard.record.call import failure_in
from rollguard.record.definitions import Definitions
from rollguard.service.otlp.calls import ToolCall, error_type_of, last_part, tool_call
from rollguard.service.otlp.merge import complete_calls
from rollguard.service.otlp.spans import Batch, Logged, Resource, Span
from rollguard.store.executions.ids import id_of

logger = logger_of(__name__)

MayRecord = Callable[[str], bool]
"""Whether the caller may record executions of a tool."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_NS = 253_402_300_799 * 10**9  # the end of the year 9999
_LONGEST_TAG = 255
_KEPT = 5.0  # seconds that the labels of a tool's versions are not read again
_WRAPPED_CONTROL_FLOW = ("GraphInterrupt", "NodeInterrupt", "ParentCommand", "ToolRetryError")
_TAIL = (
    *("tailsampling.policy", "tailsampling.composite_policy", "tailsampling.cached_decision"),
    "meta.refinery.reason",
)
_SAMPLING = "rollguard.sampling"  # an attribute of resources that collectors can set


@dataclass(slots=True)
class Taken:
    """What became of one request.

    Attributes:
        rejected: spans or log records that are not taken, and will not be however often they are sent.
        message: why the first of them is not, or what its sender should know.
    """

    rejected: int = 0
    message: str = ""


@dataclass(slots=True)
class Receiver:
    """Turns spans into executions.

    Args:
        guard: the system that records them.
        clock: a monotonic clock, in seconds.

    Attributes:
        counts: spans and logs since the start, by what became of them.
    """

    guard: Rollguard
    clock: Callable[[], float] = time.monotonic
    counts: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    _labels: dict[str, tuple[float, Mapping[str, int]]] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _control_flow: frozenset[str] = frozenset()
    _definitions: Definitions = field(init=False)

    def __post_init__(self) -> None:
        paths = self.guard.settings.record.control_flow
        self._control_flow = frozenset((*map(last_part, paths), *_WRAPPED_CONTROL_FLOW))
        self._definitions = Definitions(self.guard.store)

    # --- what arrives ----------------------------------------------------------------------------------------------

    def take_traces(self, batch: Batch, may_record: MayRecord, now: datetime) -> Taken:
        """Record the calls among some spans, or keep what has to wait for others. What returns is committed.

        Raises:
            StoreError: nothing was taken.
        """
        taken, noted = Taken(batch.rejected, batch.problem), Counter(spans=batch.total, rejected=batch.rejected)
        found: list[tuple[Span, ToolCall]] = []
        links = [(one.trace_id, one.span_id, one.parent_id) for one in batch.links]
        for span in batch.spans:
            call = tool_call(span, self._is_control_flow)
            if call is None:
                links.append((span.trace_id, span.span_id, span.parent_id))
            elif not may_record(call.tool_name):
                self._reject(taken, noted, f"this token may not record executions of {call.tool_name!r}")
            elif not 0 < span.start <= _LATEST_NS:
                self._reject(taken, noted, f"a span of {call.tool_name!r} has no start that is a time")
            else:
                found.append((span, call))
        crowded = self.waiting >= self.guard.settings.otlp.max_waiting
        due = now if crowded else now + timedelta(seconds=self.guard.settings.otlp.wait_seconds)
        calls = self._kept(found, due, taken, noted)
        others = [] if crowded else [KeptSpan(trace, span, parent or "", due) for trace, span, parent in links]
        noted["calls"], noted["ignored"] = len(calls), len(links)
        self._note_definitions([one.execution for one in calls if one.execution is not None])
        noted["executions"] = self.guard.store.spans.add([*calls, *others], self._decide(now))
        self._count(noted)
        if noted["tail_sampled"] and not taken.message:
            taken.message = f"{noted['tail_sampled']} calls are tail-sampled: they are stored, and not judged"
        return taken

    def take_logs(self, batch: Batch, now: datetime) -> Taken:
        """Keep the exceptions that were logged within spans, for the calls whose spans they are.

        Raises:
            StoreError: nothing was taken.
        """
        due = now + timedelta(seconds=self.guard.settings.otlp.wait_seconds)
        self.guard.store.spans.add([self._logged(one, due) for one in batch.logged], self._decide(now))
        self._count(Counter(logs=batch.total, exceptions=len(batch.logged), rejected=batch.rejected))
        return Taken(batch.rejected, batch.problem)

    def record_due(self, now: datetime) -> int:
        """Record the calls that waited long enough, forget what is old, and return how many calls were recorded."""
        spans, new = self.guard.store.spans, 0
        while more := spans.record_due(now, self._decide(now)):
            new += more
        spans.forget(now)
        self.waiting = spans.waiting()
        self._count(Counter(executions=new))
        return new

    def _decide(self, now: datetime) -> Decide:
        return lambda spans: complete_calls(spans, now, self.guard.settings.timeouts)

    def _reject(self, taken: Taken, noted: Counter[str], why: str) -> None:
        taken.rejected += 1
        taken.message = taken.message or why
        noted["rejected"] += 1

    def _count(self, noted: Counter[str]) -> None:
        with self._lock:
            self.counts.update(noted)
        for kind, what in (("head_sampled", "counts as one"), ("tail_sampled", "is stored, and not judged")):
            if noted[kind] and kind not in self._said:
                self._said.add(kind)
                logger.warning("calls arrive %s: each %s; see docs/opentelemetry.md", kind.replace("_", "-"), what)

    # --- from a span to an execution -------------------------------------------------------------------------------

    def _kept(
        self, found: Sequence[tuple[Span, ToolCall]], due: datetime, taken: Taken, noted: Counter[str]
    ) -> list[KeptSpan]:
        """Return the spans of calls as they are kept, redacted as every other execution."""
        kept = []
        rows = self.guard.store.executions.rows([self._fields(span, call) for span, call in found])
        for (span, call), row in zip(found, rows, strict=True):
            if isinstance(row, InvalidInput):
                self._reject(taken, noted, str(row)[:300])
                continue
            said = self._call(span, call)
            noted["head_sampled"] += bool(_threshold(span))
            noted["tail_sampled"] += bool(said.get("tail"))
            judged = self._judged(call, row, said)
            kept.append(KeptSpan(span.trace_id, span.span_id, span.parent_id or "", due, said, judged))
        return kept

    def _fields(self, span: Span, call: ToolCall) -> dict[str, Any]:
        moment = _EPOCH + timedelta(microseconds=span.start // 1000)
        tags = {
            "trace": span.trace_id,
            "service": span.resource.attributes.get("service.name"),
            "agent": call.agent,
            "sampled": f"head {threshold}" if (threshold := _threshold(span)) else None,
        }
        return {
            "tool_name": call.tool_name,
            "success": not (call.failed or call.control),
            "duration_ms": max(0, span.end - span.start) / 1e6,
            "error": call.error,
            "error_type": call.error_type,
            "parameters": call.parameters,
            "result": call.result,
            "executed_at": moment,
            "execution_id": id_of(moment, _number(span)),
            "tags": {name: str(value)[:_LONGEST_TAG] for name, value in tags.items() if value},
            "traceback": call.traceback,
        }

    def _call(self, span: Span, call: ToolCall) -> dict[str, Any]:
        """Return what tells whether two spans are of one call, and what the call is merged from."""
        version = self._version(call)
        said: dict[str, Any] = {
            "tool": call.tool_name,
            "layer": call.layer,
            "scope": span.resource.scope,
            "call_id": call.call_id,
            "start": span.start,
            "end": max(span.start, span.end),
            "failed": call.failed,
            "soft": call.soft,
            "control": call.control,
            "mcp": call.is_mcp,
            "rank": 0 if version is None else version[0],
            "version": None if version is None else version[1],
        }
        if self.guard.settings.otlp.tail_sampled or _is_tail_sampled(span.resource, span):
            said["tail"] = True
        return said

    def _judged(self, call: ToolCall, row: Execution, said: dict[str, Any]) -> Execution:
        """Return a successful call as a failure, if the settings of its tool say so of its result."""
        rule = self.guard.settings.failure_rules.get(call.tool_name)
        if rule is None or call.failed or call.control or call.result is None:
            return row
        error = failure_in(call.tool_name, (rule,), self.guard.registry.recorder, call.result)
        if error is None:
            return row
        said.update(failed=True, soft=True)
        return row._replace(success=False, error=error)

    def _logged(self, one: Logged, due: datetime) -> KeptSpan:
        kind = error_type_of(one.failed)
        control = kind is not None and self._is_control_flow(kind)
        row = self.guard.store.executions.row(
            tool_name="log", success=False, error=one.failed.message, error_type=kind, traceback=one.failed.traceback
        )
        failed = {"error": row.error, "error_type": row.error_type, "traceback": row.traceback, "control": control}
        return KeptSpan(one.trace_id, one.span_id, None, due, failed=failed)

    def _is_control_flow(self, kind: str) -> bool:
        return last_part(kind) in self._control_flow

    def _note_definitions(self, executions: list[Execution]) -> None:
        with self._lock:
            for name in {execution.tool_name for execution in executions}:
                self._definitions.define(name, self.guard.settings.timeouts.get(name))
        self._definitions.note(executions)

    # --- versions --------------------------------------------------------------------------------------------------

    def _version(self, call: ToolCall) -> tuple[int, int] | None:
        """Return (how specific, the version's number) of the first version that a call names and that is known."""
        for rank, (is_number, text) in enumerate(call.versions):
            number = self._labels_of(call.tool_name).get(text)
            if number is None and is_number and text.removeprefix("v").isdecimal():
                number = int(text.removeprefix("v")[:10])
            if number is not None and 0 < number < 2**31:
                return rank, number
        return None

    def _labels_of(self, tool_name: str) -> Mapping[str, int]:
        read_at, labels = self._labels.get(tool_name, (0.0, {}))
        if tool_name not in self._labels or self.clock() - read_at > _KEPT:
            numbers = self.guard.store.releases.labels(tool_name)
            labels = {label: number for number, some in sorted(numbers.items()) for label in some}
            if len(self._labels) > 10_000:
                self._labels.clear()
            self._labels[tool_name] = self.clock(), labels
        return labels


def _number(span: Span) -> int:
    """Return 64 bits that are always the same for a span, and hardly ever those of another one."""
    return int.from_bytes(hashlib.blake2b(bytes.fromhex(span.trace_id + span.span_id), digest_size=8).digest())


def _threshold(span: Span) -> str:
    """Return by which threshold a head sampler chose a trace, as its state says; '' if none did."""
    for member in span.trace_state.split(","):
        vendor, _, said = member.strip().partition("=")
        if vendor == "ot":
            found = next((part for part in said.split(";") if part.startswith("th:")), "")
            return "" if found == "th:0" else found
    return ""


def _is_tail_sampled(resource: Resource, span: Span) -> bool:
    if resource.attributes.get(_SAMPLING) == "tail":
        return True
    return any(
        name in held for held in (span.attributes, resource.scope_attributes, resource.attributes) for name in _TAIL
    )
