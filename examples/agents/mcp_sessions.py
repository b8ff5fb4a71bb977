"""The sessions with the MCP servers: the program opens them, and its tools use them."""

from contextlib import AsyncExitStack, asynccontextmanager

from mcp import Client, StdioServerParameters

SERVERS = {
    "git": StdioServerParameters(command="mcp-server-git"),
    "time": StdioServerParameters(command="mcp-server-time"),
}
sessions: dict[str, Client] = {}


@asynccontextmanager
async def opened():
    async with AsyncExitStack() as stack:
        for name, server in SERVERS.items():
            sessions[name] = await stack.enter_async_context(Client(server))
        yield sessions
