"""Tools of MCP servers that are monitored: `python mcp_tools.py` in a copy of this folder."""

import asyncio

from mcp_sessions import opened

from rollguard import Rollguard

guard = Rollguard.from_settings()


async def main() -> None:
    async with opened():
        status = await guard.registry.acall("git_status", repo_path=".")
        asked = {"source_timezone": "Europe/Oslo", "time": "16:30", "target_timezone": "Asia/Tokyo"}
        there = await guard.registry.acall("convert_time", **asked)
    for result in (status, there):
        print(result.content[0].text)


if __name__ == "__main__":
    asyncio.run(main())
