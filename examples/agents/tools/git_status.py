"""git_status: the state of a Git repository, by the MCP server for Git."""

from mcp_sessions import sessions

from rollguard import tool


@tool(is_failure=lambda result: result.is_error and result.content[0].text)
async def git_status(repo_path: str):
    """Show the working tree status.

    Args:
        repo_path: The folder of the repository.
    """
    return await sessions["git"].call_tool("git_status", {"repo_path": repo_path})
