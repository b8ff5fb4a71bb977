"""A tool with a name that MCP allows, on the command line from its first version to its rollback."""

from __future__ import annotations

from rollguard import Rollguard, ToolRegistry
from tests.cli.conftest import Shell

NAME, FILE = "repo/git.status", "tools/repo+git.status.py"


def code(version: int) -> str:
    return f"def repo_git_status(x: int = 0) -> int:\n    return {version}\n"


def test_such_a_tool(shell: Shell) -> None:
    """Each command takes and shows the tool's name; the file's name stands for it where the file is given."""
    shell.write(FILE, code(1))
    assert shell.ok("deploy", FILE, "--json").json["tool_name"] == NAME
    assert shell.ok("call", NAME).out.strip() == "1"
    shell.ok("deploy", "-", "--tool", NAME, stdin=code(2))
    assert (shell.folder / FILE).read_text() == code(2)
    assert NAME in shell.ok("status").out
    assert NAME in [tool["name"] for tool in shell.ok("tools", "--json").json]
    assert shell.ok("versions", NAME, "--json").json["tool_name"] == NAME
    assert shell.ok("show", NAME, "1", "--code").out == code(1)
    shell.ok("rollback", NAME, "--reason", "wrong", "--quarantine")
    assert (shell.folder / FILE).read_text() == code(1)
    assert shell.ok("quarantine", "--json").json[0]["tool_name"] == NAME
    assert not [f for f in shell.run("doctor", "--json").json if f["check"] == "tools" and f["health"] != "ok"]
    assert NAME in shell.ok("history", NAME).out
    shell.write("tools/a b.py", code(1))
    assert "a b.py: no tool can have that name" in shell.ok("tools").out
    refused = shell.run("deploy", "tools/a b.py")
    assert (refused.exit_code, "name the tool with --tool" in refused.err) == (1, True)


def test_deploying_what_was_edited(shell: Shell) -> None:
    """A deployment of an edit that is live already, served by a process without a monitor, starts its session."""
    shell.deploy(1)
    shell.write("tools/my_tool.py", "def my_tool(x: int = 0) -> int:\n    return 9\n")
    with Rollguard.from_settings() as guard:
        assert ToolRegistry(guard.settings.tools_dir, guard.store).call("my_tool") == 9
    said = shell.ok("deploy", "tools/my_tool.py", "--json").json
    assert (said["version_number"], said["changed"], said["session_id"] is not None) == (2, False, True)
