"""The real instrumentation of frameworks, sent by the real exporter: each call is one execution, as it ended."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rollguard import Rollguard
from rollguard.record.decorator import FailureRule
from rollguard.settings import Settings
from tests.service.conftest import client_of
from tests.service.otlp.sending import wait
from tests.service.otlp.serving import Sink

pytestmark = [pytest.mark.agents, pytest.mark.filterwarnings("ignore")]

Script = Sequence[tuple[str, dict[str, Any]]]
"""What a model calls, one tool at a time."""
Found = dict[str, Counter[tuple[bool, str | None, int | None]]]
"""By tool: (success, error's type, version), and how often."""

OK = (True, None, None)
ONE = {"x": 1}
SCRIPTS: list[Script] = [
    [("ok", ONE)],
    [("boom", ONE)],
    [("soft", ONE)],
    [("ok", {"x": "abc"}), ("ok", {"x": 2})],
    [("slow", ONE)],
    [("flaky", ONE), ("flaky", ONE)],
    [("outer", ONE)],
]


@pytest.fixture
def guard(tmp_path: Path, sqlite_template: Path) -> Iterator[Rollguard]:
    """A whole system whose settings say which results of `soft` are failures, and the release that runs."""
    (tmp_path / "rollguard.db").write_bytes(sqlite_template.read_bytes())
    (tmp_path / "tools").mkdir()
    rules = {"soft": FailureRule(keys=("error",))}
    settings = Settings(f"sqlite:///{tmp_path}/rollguard.db", tools_dir=tmp_path / "tools", failure_rules=rules)
    with Rollguard(settings) as opened:
        yield opened


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Where the exporters send to."""
    opened = Sink()
    yield opened
    opened.stop()


@pytest.fixture
def provider(sink: Sink) -> Iterator[Any]:
    """The SDK of OpenTelemetry with its exporter."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    made = TracerProvider(resource=Resource({"service.name": "agent", "service.version": "r1"}))
    made.add_span_processor(BatchSpanProcessor(exporter(sink)))
    yield made
    made.shutdown()


def exporter(sink: Sink) -> Any:
    """The real exporter, with gzip."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(f"{sink.address}/v1/traces", compression=Compression.Gzip)


def received(sink: Sink, guard: Rollguard) -> Found:
    """What a service makes of all that was sent, twice, as a collector's retry would."""
    with client_of(guard) as client:
        sink.give_to(client, times=2)
        wait(client)
    found: Found = {}
    for row in guard.store.listing.recent(limit=1_000):
        found.setdefault(row.tool_name, Counter())[row.success, row.error_type, row.version_number] += 1
    return found


def release(guard: Rollguard, *names: str) -> None:
    """Release tools under the label that the agents' service names as its version."""
    guard.release("r1", {name: f"def {name}(x: int) -> int:\n    return x\n" for name in names})


# --- Pydantic AI -----------------------------------------------------------------------------------------------------


def pydantic_ai_agent(script: Script, tools: Sequence[Any]) -> Any:
    """An agent whose model calls what the script says."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    left = [*enumerate(script)]

    def answer(_messages: Any, _info: Any) -> ModelResponse:
        if not left:
            return ModelResponse(parts=[TextPart("done")])
        number, (name, arguments) = left.pop(0)
        return ModelResponse(parts=[ToolCallPart(name, arguments, tool_call_id=f"call-{number}")])

    return Agent(FunctionModel(answer), tools=tools, retries=2)


def tools_of_pydantic_ai() -> list[Any]:
    """Tools that end in each way."""
    from pydantic_ai import ModelRetry, Tool

    tries = []

    def ok(x: int) -> int:
        return x

    def boom(x: int) -> int:
        raise ValueError("boom")

    def soft(x: int) -> dict[str, str]:
        return {"error": "no such city"}

    def flaky(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            raise ModelRetry("again")
        return x

    async def slow(x: int) -> int:
        await asyncio.sleep(60)
        return x

    async def outer(x: int) -> str:
        return str((await pydantic_ai_agent([("ok", ONE)], [ok]).run("go")).output)

    return [ok, boom, soft, flaky, Tool(slow, timeout=0.05), outer]


def test_pydantic_ai(guard: Rollguard, sink: Sink, provider: Any) -> None:
    """Pydantic AI: a model's retry is neither success nor failure, a time-out is a failure, a nested call its own."""
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    release(guard, "ok")
    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    try:
        for script in SCRIPTS:
            _run(lambda script=script: pydantic_ai_agent(script, tools_of_pydantic_ai()).run("go"))
    finally:
        Agent.instrument_all(False)
    provider.force_flush()
    assert received(sink, guard) == {
        "ok": {(True, None, 1): 3, (False, "ValidationError", 1): 1},
        "boom": {(False, "ValueError", None): 1},
        "soft": {(False, "ReturnedFailure", None): 1},
        "slow": {(False, "TimeoutError", None): 1},
        "flaky": {(False, "ControlFlow", None): 1, OK: 1},
        "outer": {OK: 1},
    }


def _run(start: Callable[[], Any]) -> None:
    async def whole() -> None:
        try:
            await start()
        except (ValueError, TimeoutError) as error:  # what `boom` and `slow` raise
            assert "boom" in str(error) or "too long" in str(error)  # noqa: PT017

    asyncio.run(whole())


# --- LangChain -------------------------------------------------------------------------------------------------------


def langchain_tools() -> list[Any]:
    """Tools that end in each way."""
    from langchain_core.tools import ToolException, tool
    from langgraph.types import interrupt

    tries: list[int] = []

    @tool
    def ok(x: int) -> int:
        """Return it."""
        return x

    @tool
    def boom(x: int) -> int:
        """Fail."""
        raise ValueError("boom")

    @tool
    def soft(x: int) -> dict[str, str]:
        """Say that it failed."""
        return {"error": "no such city"}

    @tool
    def slow(x: int) -> int:
        """Give up on what it waits for."""
        raise TimeoutError("it took too long")

    @tool
    def flaky(x: int) -> int:
        """Fail once, and tell the model."""
        tries.append(x)
        if len(tries) == 1:
            raise ToolException("again")
        return x

    flaky.handle_tool_error = True

    @tool
    def outer(x: int) -> int:
        """Call another tool."""
        return int(ok.invoke({"x": x}))

    @tool
    def pause(x: int) -> Any:
        """Ask a person."""
        return interrupt("sure?")

    return [ok, boom, soft, slow, flaky, outer, pause]


def test_langchain(guard: Rollguard, sink: Sink, provider: Any) -> None:
    """LangChain by OpenInference: an error that became an answer is a failure, an interrupt is none."""
    from langchain.agents import create_agent
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langgraph.checkpoint.memory import InMemorySaver
    from openinference.instrumentation.langchain import LangChainInstrumentor

    class Model(GenericFakeChatModel):
        def bind_tools(self, *_args: Any, **_more: Any) -> Any:
            return self

    def messages(script: Script) -> Iterator[AIMessage]:
        for number, (name, arguments) in enumerate(script):
            yield AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{number}"}])
        yield AIMessage("done")

    release(guard, "ok")
    LangChainInstrumentor().instrument(tracer_provider=provider)
    try:
        for script in [*SCRIPTS, [("pause", ONE)]]:
            agent = create_agent(Model(messages=messages(script)), langchain_tools(), checkpointer=InMemorySaver())
            config = {"configurable": {"thread_id": "1"}}
            _run(lambda agent=agent, config=config: agent.ainvoke({"messages": [("user", "go")]}, config))
    finally:
        LangChainInstrumentor().uninstrument()
    provider.force_flush()
    assert received(sink, guard) == {
        "ok": {(True, None, 1): 3, (False, "ValidationError", 1): 1},
        "boom": {(False, "ValueError", None): 1},
        "soft": {(False, "ReturnedFailure", None): 1},
        "slow": {(False, "TimeoutError", None): 1},
        "flaky": {(False, "ReturnedFailure", None): 1, OK: 1},
        "outer": {OK: 1},
        "pause": {(False, "ControlFlow", None): 1},
    }


# --- OpenAI Agents ---------------------------------------------------------------------------------------------------


def openai_agents(script: Script) -> Any:
    """An agent with tools that end in each way, whose model calls what the script says."""
    from agents import Agent, Runner, function_tool
    from agents.testing import ScriptedModel, assistant_message, function_call

    def model(script: Script) -> Any:
        calls = [
            [function_call(name, json.dumps(arguments), call_id=f"call-{number}")]
            for number, (name, arguments) in enumerate(script)
        ]
        return ScriptedModel([*calls, [assistant_message("done")]])

    tries: list[int] = []

    @function_tool
    def ok(x: int) -> int:
        return x

    @function_tool
    def boom(x: int) -> int:
        raise ValueError("boom")

    @function_tool
    def soft(x: int) -> dict[str, str]:
        return {"error": "no such city"}

    @function_tool(timeout=0.05)
    async def slow(x: int) -> int:
        await asyncio.sleep(60)
        return x

    @function_tool
    def flaky(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            raise ValueError("again")
        return x

    @function_tool
    async def outer(x: int) -> str:
        return str((await Runner.run(Agent(name="inner", tools=[ok], model=model([("ok", ONE)])), "go")).final_output)

    return Agent(name="a", tools=[ok, boom, soft, slow, flaky, outer], model=model(script))


@pytest.mark.parametrize("by", ["openinference", "logfire"])
def test_openai_agents(guard: Rollguard, sink: Sink, provider: Any, by: str) -> None:
    """OpenAI Agents, by OpenInference and by Logfire: what it answers the model instead of raising is a failure."""
    from agents import Runner, set_trace_processors, set_tracing_disabled

    release(guard, "ok")
    set_tracing_disabled(False)  # it is for the whole process, and other tests of this one send no traces
    set_trace_processors([])
    if by == "openinference":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

        OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
        flush = provider.force_flush
    else:
        import logfire
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        local = logfire.configure(
            local=True,
            send_to_logfire=False,
            console=False,
            service_version="r1",
            additional_span_processors=[BatchSpanProcessor(exporter(sink))],
        )
        local.instrument_openai_agents()
        flush = local.force_flush
    for script in SCRIPTS:
        _run(lambda script=script: Runner.run(openai_agents(script), "go"))
    flush()
    set_trace_processors([])
    found = received(sink, guard)
    failures = {tool: {success for success, _type, _version in rows} for tool, rows in found.items()}
    assert failures == {
        "ok": {True, False},
        "boom": {False},
        "soft": {False},
        "slow": {False},
        "flaky": {True, False},
        "outer": {True},
    }
    assert sum(found["ok"].values()) == 4
    assert {number for _success, _type, number in found["ok"]} == {1}
    assert found["slow"] == {(False, "TimeoutError", None): 1}
    assert found["soft"] == {(False, "ReturnedFailure", None): 1}


# --- MCP -------------------------------------------------------------------------------------------------------------


def mcp_server() -> Any:
    """A server with tools that end in each way; one has versions of FastMCP's own."""
    from fastmcp import Context, FastMCP
    from fastmcp.exceptions import ToolError
    from fastmcp.tools import ToolResult

    server = FastMCP("tools")
    tries: list[int] = []

    @server.tool(version="3")
    def ok(x: int) -> int:
        return x

    @server.tool
    def boom(x: int) -> int:
        raise ValueError("boom")

    @server.tool
    def soft(x: int) -> ToolResult:
        return ToolResult(content="no such city", is_error=True)

    @server.tool(timeout=0.05)
    async def slow(x: int) -> int:
        await asyncio.sleep(60)
        return x

    @server.tool
    def flaky(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            raise ToolError("again")
        return x

    @server.tool
    async def outer(x: int, ctx: Context) -> str:
        return str(await ctx.fastmcp.call_tool("ok", {"x": x}))

    return server


OF_MCP = {
    "ok": {(True, None, 3): 3, (False, "ValidationError", 3): 1},
    "boom": {(False, "ValueError", None): 1},
    "soft": {(False, "ReturnedFailure", None): 1},
    "slow": {(False, "TimeoutError", None): 1},
    "flaky": {(False, "ToolError", None): 1, OK: 1},
    "outer": {OK: 1},
}


@pytest.fixture
def global_provider(provider: Any) -> Iterator[Any]:
    """The provider that FastMCP and the MCP SDK find."""
    from opentelemetry import trace

    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    yield provider
    trace._TRACER_PROVIDER = before


def test_fastmcp(guard: Rollguard, sink: Sink, global_provider: Any) -> None:
    """FastMCP: its client's, the SDK's and its server's span are one call, with the version of the component."""
    from fastmcp import Client
    from fastmcp.exceptions import ToolError

    async def calls() -> None:
        async with Client(mcp_server()) as client:
            for script in SCRIPTS:
                for name, arguments in script:
                    try:
                        await client.call_tool(name, arguments)
                    except ToolError as error:
                        assert name != "outer", error  # noqa: PT017

    asyncio.run(calls())
    global_provider.force_flush()
    assert received(sink, guard) == OF_MCP


def test_an_agent_with_an_mcp_server(guard: Rollguard, sink: Sink, global_provider: Any) -> None:
    """Pydantic AI with a FastMCP server: the agent's, the clients' and the server's span are one call."""
    from pydantic_ai import Agent
    from pydantic_ai.mcp import MCPToolset
    from pydantic_ai.models.instrumented import InstrumentationSettings

    Agent.instrument_all(InstrumentationSettings(tracer_provider=global_provider))
    try:
        agent = pydantic_ai_agent([("ok", ONE), ("boom", ONE), ("ok", ONE)], [])
        asyncio.run(agent.run("go", toolsets=[MCPToolset(mcp_server())]))
    finally:
        Agent.instrument_all(False)
    global_provider.force_flush()
    assert received(sink, guard) == {"ok": {(True, None, 3): 2}, "boom": {(False, "ValueError", None): 1}}


# --- Langfuse --------------------------------------------------------------------------------------------------------


def test_langfuse(guard: Rollguard, sink: Sink) -> None:
    """Langfuse's own SDK: an observation of a tool is a call, its level and its version are read."""
    from langfuse import Langfuse
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    release(guard, "ok")
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter(sink)))
    client = Langfuse(public_key="pk", secret_key="sk", base_url=sink.address, tracer_provider=provider)
    for level in ("DEFAULT", "ERROR"):
        with client.start_as_current_observation(as_type="agent", name="agent"):  # noqa: SIM117 - one inside the other
            with client.start_as_current_observation(as_type="tool", name="ok", input={"x": 1}, version="r1") as call:
                call.update(output={"y": 2}, level=level, status_message="it broke" if level == "ERROR" else None)
    provider.force_flush()
    assert received(sink, guard) == {"ok": {(True, None, 1): 1, (False, None, 1): 1}}
    (failed,) = guard.store.listing.recent("ok", failed=True)
    assert (failed.error, failed.parameters) == ("it broke", '{"x":1}')
