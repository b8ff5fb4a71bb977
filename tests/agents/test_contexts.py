"""Tools that take the context of their framework, through `registry.function` and with `@tool`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from rollguard import ToolRegistry, tool

pytestmark = [pytest.mark.agents, pytest.mark.parametrize("dialect", ["sqlite"])]  # no store is in question here

PYDANTIC_AI = """
from pydantic_ai import RunContext

def greet(context: RunContext[str], name: str) -> str:
    return f"{context.deps}, {name}!"
"""
OPENAI = """
from agents import RunContextWrapper

def greet(context: RunContextWrapper[str], name: str) -> str:
    return f"{context.context}, {name}!"
"""
LANGGRAPH = """
from langchain.tools import ToolRuntime

def greet(name: str, runtime: ToolRuntime) -> str:
    '''Greet.'''
    return f"{runtime.state['messages'][0].text}, {name}!"
"""
NAME = {"name": "Ada"}


@pytest.fixture(params=["def", "async def", "@tool"])
def greeting(request: pytest.FixtureRequest, registry: ToolRegistry) -> Iterator[Any]:
    """Returns the function of the deployed tool, plain and async, or the function of a program, with `@tool`."""

    def function_of(code: str) -> Any:
        if request.param == "@tool":
            namespace: dict[str, Any] = {}
            exec(code, namespace)
            return tool(recorder=registry.recorder)(namespace["greet"])
        registry.deploy("greet", code.replace("def", request.param))
        return registry.function("greet")

    yield function_of
    registry.close()


async def test_pydantic_ai(greeting: Any) -> None:
    """The model sees the parameters without the context, and the tool gets the context of the run."""
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    model = TestModel(call_tools=["greet"])
    agent = Agent(model, deps_type=str, tools=[greeting(PYDANTIC_AI)])
    assert (await agent.run("Greet", deps="Hello")).output == '{"greet":"Hello, a!"}'
    (described,) = model.last_model_request_parameters.function_tools
    assert list(described.parameters_json_schema["properties"]) == ["name"]


async def test_openai_agents(greeting: Any) -> None:
    """The model sees the parameters without the context, and the tool gets the context of the run."""
    from agents import Agent, Runner, function_tool, set_tracing_disabled
    from agents.testing import ScriptedModel, assistant_message, function_call

    set_tracing_disabled(True)
    greet = function_tool(greeting(OPENAI))
    assert list(greet.params_json_schema["properties"]) == ["name"]
    model = ScriptedModel([[function_call("greet", NAME, call_id="call_1")], [assistant_message("done")]])
    run = await Runner.run(Agent("greeter", tools=[greet], model=model), "Greet", context="Hello")
    assert [item.output for item in run.new_items if item.type == "tool_call_output_item"] == ["Hello, Ada!"]


async def test_langgraph(greeting: Any) -> None:
    """The model sees the parameters without the runtime, and the tool gets the runtime with the run's messages."""
    from langchain.agents import create_agent
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    described = []

    class Offline(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **_options: Any) -> Any:
            described.extend(tools)
            return self

    asking = AIMessage("", tool_calls=[{"name": "greet", "args": NAME, "id": "call_1"}])
    model = Offline(messages=itertools.chain([asking, "done"]))
    agent = create_agent(model, tools=[greeting(LANGGRAPH)])
    answered = await agent.ainvoke({"messages": [{"role": "user", "content": "Hello"}]})
    assert answered["messages"][-2].content == "Hello, Ada!"
    assert list(described[0].tool_call_schema.model_json_schema()["properties"]) == ["name"]
