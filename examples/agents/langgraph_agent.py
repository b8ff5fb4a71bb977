"""A LangGraph agent whose tool is monitored: `python langgraph_agent.py` in a copy of this folder."""

import asyncio

from langchain.agents import create_agent
from langchain.agents.middleware import ToolErrorMiddleware
from offline_models import for_langchain

from rollguard import Rollguard


def tell_the_model(error, request):
    return f"{request.tool_call['name']} failed: {error!r}"  # else the tool's exception ends the run


guard = Rollguard.from_settings()
agent = create_agent(
    for_langchain(),  # yours: "openai:gpt-5.2", "anthropic:claude-sonnet-5", ...
    tools=[guard.registry.function("parcel_price")],
    middleware=[ToolErrorMiddleware(tell_the_model)],
)


async def ask(question: str) -> str:
    answered = await agent.ainvoke({"messages": [{"role": "user", "content": question}]})
    return answered["messages"][-1].text


if __name__ == "__main__":
    print(asyncio.run(ask("What does a parcel of 2 kg to Norway cost?")))
