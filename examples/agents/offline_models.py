"""Models that need no network: each asks for `parcel_price` once, and then answers with what the tool said."""

from __future__ import annotations

import itertools
from typing import Any

ARGUMENTS = {"weight_kg": 2.0, "country": "NO"}


def for_pydantic_ai() -> Any:
    """Return a model for Pydantic AI."""
    from pydantic_ai import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
    from pydantic_ai.models.function import FunctionModel

    def answer(messages: list[Any], _info: object) -> ModelResponse:
        last = messages[-1].parts[-1]
        if isinstance(last, ToolReturnPart):
            return ModelResponse([TextPart(f"The tool said: {last.content}")])
        return ModelResponse([ToolCallPart("parcel_price", ARGUMENTS)])

    return FunctionModel(answer)


def for_openai_agents() -> Any:
    """Return a model for the OpenAI Agents SDK, which answers a hundred questions."""
    from agents import set_tracing_disabled
    from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call

    def answer(call: ModelCall) -> list[Any]:
        return [assistant_message(f"The tool said: {call.input[-1]['output']}")]

    set_tracing_disabled(True)  # traces are sent to OpenAI
    asking = [function_call("parcel_price", ARGUMENTS, call_id="call_1")]
    return ScriptedModel([asking, ModelStep.respond(answer)] * 100)


def for_langchain() -> Any:
    """Return a model for LangChain and LangGraph."""
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Offline(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **_options: Any) -> Offline:
            return self

        def _generate(self, messages: list[Any], *_arguments: Any, **_options: Any) -> ChatResult:
            said = AIMessage(f"The tool said: {messages[-1].content}")
            message = next(self.messages) if messages[-1].type == "human" else said
            return ChatResult(generations=[ChatGeneration(message=message)])

    call = {"name": "parcel_price", "args": ARGUMENTS}
    return Offline(messages=(AIMessage("", tool_calls=[{**call, "id": f"call_{n}"}]) for n in itertools.count()))
