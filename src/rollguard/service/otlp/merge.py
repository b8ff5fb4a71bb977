"""Find the spans that are one call, in whatever order they arrive, and what the call is recorded as. Pure.

An agent, an MCP client and an MCP server each make a span of the same call, and two instrumentations of an agent do
too. A span below another one is the same call if both are of the same tool, unless an agent calls the tool again: that
is a call of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from rollguard.judge import CONTROL_FLOW, GIVEN_UP, TIMED_OUT, UNJUDGED, WITHDRAWN
from rollguard.model.execution import Execution
from rollguard.model.formatting import seconds
from rollguard.model.span import KeptSpan, Recorded
from rollguard.service.otlp.calls import AGENT, MCP_SERVER

_DEEPEST = 100  # links that are followed upwards
_SKEW_NS = 1_000_000_000  # by which two machines' clocks may differ
_PREFIXES = "_-./:"


def complete_calls(spans: Sequence[KeptSpan], now: datetime, timeouts: Mapping[str, float]) -> Recorded:
    """Return the calls that are complete: all their spans are here, or were waited for.

    Args:
        spans: all kept spans of some traces.
        timeouts: for a tool's name, the seconds after which a call counts as failed.
    """
    recorded = Recorded()
    for _trace, some in groupby(sorted(spans, key=attrgetter("key")), key=attrgetter("trace_id")):
        for group in _groups(list(some)):
            waiting = [span for span in group if span.waits]
            if len(waiting) < len(group):  # what arrives late belongs to a call that is recorded
                recorded.keys.update(span.key for span in waiting)
            elif _is_complete(group) or min(span.due_at for span in group) <= now:
                recorded.executions.append(_execution(group, timeouts))
                recorded.keys.update(span.key for span in group)
    return recorded


# --- which spans are one call ----------------------------------------------------------------------------------------


def _groups(spans: list[KeptSpan]) -> list[list[KeptSpan]]:
    """Return the spans of each call of a trace, the outermost first."""
    calls = sorted((span for span in spans if span.call is not None), key=lambda span: _call(span)["start"])
    if len(calls) < 2:
        return [calls] if calls else []
    by_id = {span.span_id: span for span in spans}
    group_of = {span.span_id: [span] for span in calls}
    outer: dict[str, KeptSpan] = {}
    by_call_id: dict[str, list[KeptSpan]] = defaultdict(list)
    for span in calls:
        above, is_known = _call_above(span, by_id)
        if above is None and not is_known:
            above = _around(span, calls, group_of)
        if above is not None and _same_call(above, span):
            outer[span.span_id] = above
            _join(group_of, above, span)
        same = by_call_id[str(_call(span).get("call_id"))]
        for other in same:
            if _same_id(other, span):
                _join(group_of, other, span)
        same.append(span)
    found = {id(group): group for group in group_of.values()}
    return [sorted(group, key=lambda span: _from_outside(span, outer)) for group in found.values()]


def _from_outside(span: KeptSpan, outer: Mapping[str, KeptSpan]) -> tuple[int, int, int, str]:
    """Order the spans of a call by how many of its spans are above them."""
    depth, above = 0, outer.get(span.span_id)
    while above is not None and depth < _DEEPEST:
        depth, above = depth + 1, outer.get(above.span_id)
    call = _call(span)
    return depth, call["layer"], call["start"], span.span_id


def _join(group_of: dict[str, list[KeptSpan]], one: KeptSpan, other: KeptSpan) -> None:
    into, of = group_of[one.span_id], group_of[other.span_id]
    if into is not of:
        into += of
        for span in of:
            group_of[span.span_id] = into


def _call_above(span: KeptSpan, by_id: Mapping[str, KeptSpan]) -> tuple[KeptSpan | None, bool]:
    """Return the nearest call above a span, and whether all that is above it is known."""
    parent = span.parent_id
    for _ in range(_DEEPEST):
        if not parent:
            return None, parent is not None
        above = by_id.get(parent)
        if above is None:
            return None, False
        if above.call is not None:
            return above, True
        parent = above.parent_id
    return None, True


def _around(span: KeptSpan, calls: list[KeptSpan], group_of: Mapping[str, list[KeptSpan]]) -> KeptSpan | None:
    """Return the call whose time holds that of an MCP span, where what lies between the two is not kept."""
    inner = _call(span)
    if inner["layer"] == AGENT:
        return None
    around = [
        other
        for other in calls
        if _call(other)["layer"] < inner["layer"]
        and _same_tool(_call(other), inner)
        and _call(other)["start"] - _SKEW_NS <= inner["start"]
        and inner["end"] <= _call(other)["end"] + _SKEW_NS
        and all(_call(one)["layer"] != inner["layer"] for one in group_of[other.span_id])
    ]
    return min(around, key=lambda other: abs(_call(other)["start"] - inner["start"]), default=None)


def _same_call(above: KeptSpan, below: KeptSpan) -> bool:
    outer, inner = _call(above), _call(below)
    if not _same_tool(outer, inner):
        return False
    if inner["layer"] != AGENT:
        return True
    ids = {outer.get("call_id"), inner.get("call_id")} - {None}
    return outer["layer"] == AGENT and outer["scope"] != inner["scope"] and len(ids) < 2


def _same_id(one: KeptSpan, other: KeptSpan) -> bool:
    """Return whether two spans of different instrumentations are of the call with one id, at the same time."""
    first, second = _call(one), _call(other)
    return (
        first.get("call_id") is not None
        and first["call_id"] == second.get("call_id")
        and (first["layer"], first["scope"]) != (second["layer"], second["scope"])
        and _same_tool(first, second)
        and first["start"] <= second["end"]
        and second["start"] <= first["end"]
    )


def _same_tool(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    """Return whether names are of one tool; an agent, or a server that mounts others, may put a prefix before one."""
    long, short = outer["tool"], inner["tool"]
    return bool(long == short or (long.endswith(short) and long[-len(short) - 1] in _PREFIXES))


def _call(span: KeptSpan) -> Mapping[str, Any]:
    assert span.call is not None  # noqa: S101 - only calls are compared
    return span.call


# --- whether all of a call is here -----------------------------------------------------------------------------------


def _is_complete(group: list[KeptSpan]) -> bool:
    calls = [_call(span) for span in group]
    if _lacks_its_server(calls) or _lacks_its_exception(group):
        return False
    return calls[0]["layer"] == AGENT or group[0].parent_id == ""


def _lacks_its_server(calls: list[Mapping[str, Any]]) -> bool:
    """Return whether an MCP server may still say which version of the tool ran."""
    return (
        any(call["mcp"] for call in calls)
        and all(call["layer"] != MCP_SERVER for call in calls)
        and all(call.get("version") is None for call in calls)
    )


def _lacks_its_exception(group: list[KeptSpan]) -> bool:
    """Return whether a log may still say what was raised."""
    failed = [span for span in group if _call(span)["failed"]]
    said = (span.failed or (span.execution and (span.execution.error or span.execution.error_type)) for span in failed)
    return bool(failed) and not any(said)


# --- what it is recorded as ------------------------------------------------------------------------------------------


def _execution(group: list[KeptSpan], timeouts: Mapping[str, float]) -> Execution:
    """Return the one execution of a call, with the time and the id of its outermost span."""
    kept = [(span.execution, _call(span), span.failed) for span in group if span.execution is not None]
    outermost = kept[0][0]
    mcp = next((execution for execution, call, _failed in kept if call["layer"] != AGENT), outermost)
    versions = sorted(
        (call["rank"], -place, call["version"]) for place, (_e, call, _f) in enumerate(kept) if call.get("version")
    )
    whole = outermost._replace(
        tool_name=mcp.tool_name,
        version_number=versions[0][2] if versions else None,
        parameters=_first(execution.parameters for execution, _call, _failed in kept),
        result=_first(execution.result for execution, _call, _failed in kept),
    )
    ended = _ended(whole, kept, timeouts.get(whole.tool_name))
    return _unjudged(ended) if any(call.get("tail") for _e, call, _f in kept) else ended


def _ended(
    whole: Execution, kept: list[tuple[Execution, Mapping[str, Any], Mapping[str, Any] | None]], limit: float | None
) -> Execution:
    """Return how the call ended: as its outermost span says, and the last one inside of it."""
    last = max(kept[1:], key=lambda one: one[1]["end"], default=kept[0])
    deciding = [one for one in (kept[0], last) if one[1]["failed"]]
    duration, too_long = whole.duration_ms or 0.0, limit is not None and (whole.duration_ms or 0.0) > limit * 1000.0
    if not deciding:
        if kept[0][1]["control"]:
            return whole._replace(success=False, error_type=CONTROL_FLOW, error=kept[0][0].error)
        if too_long:
            error = f"it returned after {seconds(duration / 1000.0)}; timeout_seconds is {limit:g}"
            return whole._replace(success=False, error_type=TIMED_OUT, error=error)
        return whole
    failing = sorted((one for one in kept if one[1]["failed"]), key=_says_most)
    execution, call, logged = failing[0]
    values = {
        name: (logged or {}).get(name) or getattr(execution, name) for name in ("error", "traceback", "failed_at")
    }
    kind = execution.error_type or (logged or {}).get("error_type") or ("ReturnedFailure" if call["soft"] else None)
    if (logged or {}).get("control"):
        return whole._replace(success=False, error_type=CONTROL_FLOW, error=values["error"])
    if kind == "CancelledError":
        kind, values["error"] = _given_up(duration, too_long, limit)
    return whole._replace(success=False, error_type=kind, result=None if not call["soft"] else whole.result, **values)


def _says_most(one: tuple[Execution, Mapping[str, Any], Mapping[str, Any] | None]) -> tuple[bool, bool, int]:
    """Order failures by how much they say: the exception itself, then its type, then only that there was one."""
    execution, call, logged = one
    return not (execution.traceback or logged), execution.error_type is None, -call["layer"]


def _given_up(duration_ms: float, too_long: bool, limit: float | None) -> tuple[str, str]:
    after = f"its caller gave up after {seconds(duration_ms / 1000.0)}"
    if limit is None:
        return GIVEN_UP, after
    if too_long:
        return TIMED_OUT, f"{after}; timeout_seconds is {limit:g}"
    return WITHDRAWN, f"{after}, within timeout_seconds"


def _unjudged(execution: Execution) -> Execution:
    """Return a call that was kept because of how it ended, so that it says nothing about how often calls fail."""
    how = "it succeeded" if execution.success else f"it failed: {execution.error_type}: {execution.error}"
    return execution._replace(success=False, error_type=UNJUDGED, error=f"tail-sampled, so not judged; {how}")


def _first(values: Iterator[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
