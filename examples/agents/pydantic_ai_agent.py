"""A Pydantic AI agent whose tool is monitored: `python pydantic_ai_agent.py` in a copy of this folder."""

import asyncio

from offline_models import for_pydantic_ai
from pydantic_ai import Agent, ToolFailed
from pydantic_ai.capabilities import Hooks

from rollguard import Rollguard


async def tell_the_model(_context, *, call, error, **_details):
    raise ToolFailed(f"{call.tool_name} failed: {error!r}")  # else the tool's exception ends the run


guard = Rollguard.from_settings()
agent = Agent(
    for_pydantic_ai(),  # yours: "openai:gpt-5.2", "anthropic:claude-sonnet-5", ...
    tools=[guard.registry.function("parcel_price")],
    capabilities=[Hooks(tool_execute_error=tell_the_model)],
)


async def ask(question: str) -> str:
    return (await agent.run(question)).output


if __name__ == "__main__":
    print(asyncio.run(ask("What does a parcel of 2 kg to Norway cost?")))
