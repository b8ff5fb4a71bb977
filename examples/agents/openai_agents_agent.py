"""An OpenAI agent whose tool is monitored: `python openai_agents_agent.py` in a copy of this folder."""

import asyncio

from agents import Agent, Runner, function_tool
from offline_models import for_openai_agents

from rollguard import Rollguard

guard = Rollguard.from_settings()
agent = Agent(
    name="post office",
    model=for_openai_agents(),  # yours: "gpt-5.2", ...
    tools=[function_tool(guard.registry.function("parcel_price"))],
)


async def ask(question: str) -> str:
    return (await Runner.run(agent, question)).final_output


if __name__ == "__main__":
    print(asyncio.run(ask("What does a parcel of 2 kg to Norway cost?")))
