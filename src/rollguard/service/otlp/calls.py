"""Understand spans as calls of tools: by the conventions of GenAI, MCP, OpenInference, Langfuse and Logfire. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from rollguard.service.otlp.spans import CLIENT, ERROR, SERVER, Attributes, Failed, Span

AGENT, MCP_CLIENT, MCP_SERVER = range(3)
"""The layers in which one call is seen, from the outside to the inside."""

_MCP_CALL = "tools/call"
_OK = 1
_SOFT = "tool_error"  # the `error.type` of a result that says it is an error
_RPC_CODE = re.compile(r"-?[0-9]+")
_RPC_ERRORS = {"-32602": "ValidationError", "-32001": "TimeoutError"}  # of JSON-RPC and MCP
_OF_MCP = ("MCPError", "McpError")
_WRAPPERS = frozenset(("ToolError", "ToolException", "ToolFailedError", "ToolRetryError"))
_RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)(?:: |$)", re.MULTILINE)
_TIMED_OUT = re.compile(r"Timed out after [0-9.]+ seconds\.")
_RAN_OUT = re.compile(r"Tool '.*' timed out after [0-9.]+ seconds\.")  # what OpenAI Agents answers the model
_CAUSED = "\nThe above exception was the direct cause of the following exception:"
_CONTENT = re.compile(r"\s*[\[{\"\d\-tfn]")

# Where versions are said, the most specific first; those of a service are labels of releases, never numbers.
_OF_TOOL = (
    *("gen_ai.tool.version", "mcp.tool.version", "tool.version"),
    *("langfuse.observation.metadata.tool_version", "langfuse.observation.metadata.version"),
)
_OF_SERVICE = ("langfuse.version", "service.version")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A span of a call of a tool.

    Attributes:
        layer: where the call is seen: `AGENT`, `MCP_CLIENT` or `MCP_SERVER`.
        call_id: the model's id of the call.
        failed: whether it failed; `error_type`, `error` and `traceback` say how.
        soft: whether the result says so, and nothing was raised.
        control: whether it ended by its framework's control flow, such as a pause: neither success nor failure.
        versions: the versions that it names, the most specific first: (whether a number is a version's, text).
        is_mcp: whether an MCP server runs the tool.
        agent: the agent that called it.
    """

    tool_name: str
    layer: int
    call_id: str | None
    parameters: Any
    result: Any
    failed: bool
    soft: bool
    control: bool
    error_type: str | None
    error: str | None
    traceback: str | None
    versions: tuple[tuple[bool, str], ...]
    is_mcp: bool
    agent: str | None


def tool_call(span: Span, is_control_flow: Callable[[str], bool]) -> ToolCall | None:
    """Return the call of a tool that a span is of; None for any other span.

    Args:
        is_control_flow: whether an exception of this type is a framework's control flow.
    """
    given = span.attributes
    if given.get("logfire.span_type") == "pending_span":  # a second span of one that has begun
        return None
    found = _named(span)
    if found is None:
        return None
    name, layer, names = found
    raised = [kind for one in span.exceptions if (kind := error_type_of(one))]
    control = "pydantic_ai.tool.deferral.name" in given or any(map(is_control_flow, raised))
    result, says_error, its_id = _result(given, names[1])
    failed = not control and (says_error or _failed(span))
    kind, text, traceback = _error(span) if failed or control else (None, None, None)
    if says_error and text is None and isinstance(result, str):
        kind, text = ("TimeoutError" if _RAN_OUT.fullmatch(result) else kind), result
    return ToolCall(
        tool_name=name,
        layer=layer,
        call_id=_text(given.get("gen_ai.tool.call.id") or given.get("tool.id") or given.get("tool_call.id") or its_id),
        parameters=_content(given, names[0]),
        result=result,
        failed=failed,
        soft=failed and not raised and (says_error or given.get("error.type") == _SOFT),
        control=control,
        error_type=kind,
        error=text,
        traceback=traceback,
        versions=tuple(_versions(span)),
        is_mcp=layer != AGENT or "mcp.method.name" in given,
        agent=_text(given.get("gen_ai.agent.name")),
    )


# --- the conventions -------------------------------------------------------------------------------------------------

_Content = tuple[tuple[str, ...], tuple[str, ...]]
"""The attributes that may hold the parameters, and those that may hold the result."""
_GEN_AI: _Content = (("gen_ai.tool.call.arguments", "tool_arguments"), ("gen_ai.tool.call.result", "tool_response"))
_OPEN_INFERENCE: _Content = (("input.value", "tool.parameters"), ("output.value",))
_LANGFUSE: _Content = (("langfuse.observation.input",), ("langfuse.observation.output",))
_LOGFIRE: _Content = (("input",), ("output",))
_LOGFIRE_MCP: _Content = (("request",), ("response",))


def _named(span: Span) -> tuple[str, int, _Content] | None:
    """Return the tool's name, the layer and the attributes of contents; None if it is no call of a tool."""
    given = span.attributes
    said = given.get("gen_ai.tool.name")
    method = given.get("mcp.method.name", given.get("rpc.method"))
    layer, contents = AGENT, _GEN_AI
    if method is not None:
        if method != _MCP_CALL:
            return None
        said = said or span.name.partition(f"{_MCP_CALL} ")[2].strip()
        layer, contents = _layer_of_mcp(span), _GEN_AI if "mcp.method.name" in given else _LOGFIRE_MCP
    elif given.get("gen_ai.operation.name") == "execute_tool" or (said and "logfire.msg" in given):
        said = said or span.name.partition("execute_tool ")[2].strip()
    elif given.get("openinference.span.kind") == "TOOL":  # a handoff is such a span without a tool's name
        said, contents = given.get("tool.name"), _OPEN_INFERENCE
    elif given.get("langfuse.observation.type") == "tool":
        said, contents = span.name, _LANGFUSE
    elif given.get("logfire.msg_template") == "Function: {name}":
        said, contents = given.get("name"), _LOGFIRE
    else:
        return None
    name = _text(said)
    return None if name is None else (name, layer, contents)


def _layer_of_mcp(span: Span) -> int:
    if span.kind == CLIENT or span.name.startswith("MCP request"):
        return MCP_CLIENT
    if span.kind == SERVER or "fastmcp.component.key" in span.attributes or "server handle" in span.name:
        return MCP_SERVER
    return AGENT  # a span of the agent that has the attributes of MCP too


# --- what they say ---------------------------------------------------------------------------------------------------


def _failed(span: Span) -> bool:
    if span.status == ERROR or span.attributes.get("langfuse.observation.level") == "ERROR":
        return True
    return span.status != _OK and "error.type" in span.attributes


def _error(span: Span) -> tuple[str | None, str | None, str | None]:
    """Return (type, text, traceback) of what went wrong."""
    said = span.exceptions[-1] if span.exceptions else Failed(None, None, None)
    given = span.attributes
    text = said.message or span.status_message or _text(given.get("error.message"))
    text = text or _text(given.get("langfuse.observation.status_message"))
    code = _text(given.get("error.type"))
    kind = error_type_of(said) or code
    if code is not None and _RPC_CODE.fullmatch(code) and kind in (code, *_OF_MCP):
        kind = _RPC_ERRORS.get(code, "MCPError")
    if kind in (*_OF_MCP, *_WRAPPERS) and text and "timed out after" in text:
        kind = "TimeoutError"
    kind = None if kind in ("_OTHER", _SOFT) else kind
    return (None if kind is None else last_part(kind)), text, said.traceback


def error_type_of(failed: Failed) -> str | None:
    """Return the type of an exception; that of its cause, if a framework only wraps it."""
    kind = None if failed.type is None else last_part(failed.type)
    if kind == "ToolRetryError" and _TIMED_OUT.fullmatch(failed.message or ""):
        return "TimeoutError"  # Pydantic AI has the model try again, which no tool asked for
    if kind in _WRAPPERS and failed.traceback and _CAUSED in failed.traceback:
        first = _RAISED.findall(failed.traceback.partition(_CAUSED)[0])
        return first[-1] if first else kind
    return kind


def last_part(path: str) -> str:
    """Return the name of a class, without its module."""
    return path.rpartition(".")[2]


def _versions(span: Span) -> Iterator[tuple[bool, str]]:
    given = span.attributes
    key = _text(given.get("fastmcp.component.key"))
    said = [(True, key.rpartition("@")[2])] if key and "@" in key else []
    said += [(True, _text(given.get(name)) or "") for name in _OF_TOOL]
    if "metadata" in given:
        held = _decoded(given["metadata"])
        if isinstance(held, dict):
            said.append((True, _text(held.get("tool_version") or held.get("version")) or ""))
    said += [(False, _text(given.get(name) or span.resource.attributes.get(name)) or "") for name in _OF_SERVICE]
    return ((is_number, text) for is_number, text in said if text)


def _content(given: Attributes, names: tuple[str, ...]) -> Any:
    found = next((given[name] for name in names if given.get(name) is not None), None)
    return _decoded(found)


def _result(given: Attributes, names: tuple[str, ...]) -> tuple[Any, bool, str | None]:
    """Return (result, whether it says that it is an error, the call's id in it), without a framework's envelope."""
    found = _content(given, names)
    if not isinstance(found, dict):
        return found, isinstance(found, str) and _RAN_OUT.fullmatch(found) is not None, None
    message = found.get("data") if found.get("type") == "tool" else None
    if isinstance(message, dict) and "content" in message:  # of LangChain
        return _decoded(message["content"]), message.get("status") == "error", _text(message.get("tool_call_id"))
    return found, found.get("isError") is True, None


def _decoded(value: Any) -> Any:
    """Return a value that is JSON in a text; any other as it is."""
    if not isinstance(value, str) or not _CONTENT.match(value):
        return value
    try:
        return from_json(value)
    except ValueError:
        return value


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
