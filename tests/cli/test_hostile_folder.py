"""Commands in a folder with files that harm who runs them."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Shell
from tests.conftest import code
from tests.registry import hostile


def test_commands_run_no_file(shell: Shell, tmp_path: Path) -> None:
    """Every command but `call` does its work beside hostile files, and runs none of them."""
    ran = tmp_path / "ran"
    shell.deploy(1)
    shell.deploy(2)
    hostile.put_all(shell.folder / "tools", ran)
    for words in ("status", "tools", "history my_tool", "sessions", "health my_tool", "rollbacks", "diff my_tool 1 2"):
        shell.ok(*words.split())
    assert shell.run("doctor").exit_code in (0, 1)
    shell.ok("watch", "--once")
    shell.ok("rollback", "my_tool", "--yes", "--reason", "by hand")
    assert (shell.folder / "tools/my_tool.py").read_text() == code(1)
    assert shell.ok("call", "my_tool", "x=1").out == "2\n"
    assert not ran.exists()
