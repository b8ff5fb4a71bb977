"""convert_time: the time of day in another place, by the MCP server for time."""

from mcp_sessions import sessions

from rollguard import tool


@tool(is_failure=lambda result: result.is_error and result.content[0].text)
async def convert_time(source_timezone: str, time: str, target_timezone: str):
    """Convert a time of day between time zones.

    Args:
        source_timezone: The time zone of `time`, such as Europe/Oslo.
        time: The time of day, such as 16:30.
        target_timezone: The time zone to convert to.
    """
    given = {"source_timezone": source_timezone, "time": time, "target_timezone": target_timezone}
    return await sessions["time"].call_tool("convert_time", given)
