"""`rollguard release`, `releases` and `sync`, and labels where a version's number may stand."""

from __future__ import annotations

from rollguard.cli import exits
from tests.cli.conftest import Shell
from tests.conftest import code

ONE, TWO = "alpha", "beta"


def test_ci_reads_the_exit_code(shell: Shell) -> None:
    """On the command line 0 is released or nothing to do, 3 rolled back since, and 8 something live would be lost."""
    shell.write("repo/alpha.py", code(1, ONE))
    shell.write("repo/beta.py", code(1, TWO))
    assert "r1 is released: alpha 1, beta 1 are live" in shell.ok("sync", "repo", "--ref", "r1").out
    assert "was released before, with the same code" in shell.ok("sync", "repo", "--ref", "r1").out
    shell.write("repo/alpha.py", code(2, ONE))
    assert "changed: alpha" in shell.ok("sync", "repo", "--ref", "r2", "--dry-run").out
    assert shell.ok("sync", "repo", "--ref", "r2", "--json").json["released"]["changed"] == [ONE]
    done = shell.ok("rollback", "--release", "r2", "--reason", "bad", "--yes")
    assert "alpha is at version 1 again, in place of version 2" in done.out
    assert shell.run("sync", "repo", "--ref", "r2").exit_code == exits.REGRESSION
    shell.write("alpha.py", code(9, ONE))
    shell.ok("deploy", "alpha.py", "--by", "ada")
    shell.write("repo/beta.py", code(2, TWO))
    for words in (["--dry-run"], []):
        ran = shell.run("sync", "repo", "--ref", "r3", *words)
        assert ran.exit_code == exits.CONFLICT
        assert "version 3 of alpha, deployed by ada, is live and not in the folder" in ran.out + ran.err
    assert "kept as it is live: alpha" in shell.ok("sync", "repo", "--ref", "r3", "--wins", "live").out
    listed = shell.ok("releases").out
    assert [label in listed for label in ("r1", "r2", "r3")] == [True, True, True]
    assert "rolled back" in shell.ok("releases", "r2").out
    assert shell.ok("releases", "r1", "--json").json["tools"][0]["tool_name"] == ONE
    assert shell.run("releases", "r9").exit_code == exits.ERROR
    assert "r3" in shell.ok("history", TWO).out
    assert "beta, version 2 (r3)" in shell.ok("show", TWO, "r3").out
    assert "Version 2 (r3)" in shell.ok("diff", TWO, "r1", "r3").out
    assert shell.ok("rollback", TWO, "--to", "r1", "--reason", "r", "--yes", "--json").json["to_version"] == 1
    assert (
        "Version 2 (r3) of beta is live again" in shell.ok("rollback", TWO, "--to", "r3", "--reason", "r", "--yes").out
    )
    assert shell.run("rollback", "--reason", "r").exit_code == exits.USAGE


def test_a_release_of_files(shell: Shell) -> None:
    """Several files are one release, with metadata, once a label; what breaks callers is listed or refused."""
    for tool in (ONE, TWO):
        shell.write(f"{tool}.py", code(1, tool))
    done = shell.ok("release", "v1", "alpha.py", "beta.py", "--metadata", '{"image": "t:1"}', "--json").json
    assert (done["new"], done["versions"]) == (True, {ONE: 1, TWO: 1})
    assert shell.ok("releases", "v1", "--json").json["metadata"] == {"image": "t:1"}
    assert "Nothing was changed" in shell.ok("release", "v1", "alpha.py", "beta.py").out
    shell.write("alpha.py", "def alpha(y: int) -> int:\n    return y\n")
    assert shell.run("release", "v1", "alpha.py", "beta.py").exit_code == exits.CONFLICT
    assert shell.run("release", "v2", "alpha.py", "beta.py", "--strict").exit_code == exits.BREAKING
    assert "This breaks callers" in shell.ok("release", "v2", "alpha.py", "beta.py", "--no-watch").out
    assert shell.run("release", "7", "alpha.py").exit_code == exits.ERROR


def test_labels_with_what_is_left_out_by_default(shell: Shell) -> None:
    """A label stands for a number where versions may be left out, in the view of a tool, and for its calls."""
    _two_releases(shell)
    assert "alpha: version 2 (v2) is live" in shell.ok("show", ONE).out
    assert "Version 1 (v1)" in shell.ok("diff", ONE).out
    assert "Version 2 (v2)" in shell.ok("diff", ONE, "v1").out
    listed = shell.ok("versions", ONE, "--json").json
    assert [one["labels"] for one in listed["versions"]] == [["v2"], ["v1"]]
    shell.ok("call", ONE, "x=1", "--record")
    assert [one["version_number"] for one in shell.ok("calls", ONE, "--version", "v2", "--json").json] == [2]
    assert shell.ok("calls", ONE, "--version", "v1", "--json").json == []
    assert "name the tool too" in shell.run("calls", "--version", "v1").err
    assert shell.run("calls", ONE, "--version", "v9").exit_code == exits.ERROR
    assert shell.ok("investigate", ONE, "--version", "v2", "--json").json["version_number"] == 2


def test_a_rollback_is_planned_by_label(shell: Shell) -> None:
    """`--dry-run` says what a label or a release would be rolled back to, and changes nothing."""
    _two_releases(shell)
    because = ("--reason", "r", "--dry-run")
    says = "Version 1 (v1) of alpha would be live again, in place of version 2 (v2)"
    assert says in shell.ok("rollback", ONE, "--to", "v1", *because).out
    planned = shell.ok("rollback", "--release", "v2", *because).out
    assert "alpha would be at version 1 again, in place of version 2." in planned
    assert "gamma would be withdrawn: the release had added it." in planned
    done = shell.ok("rollback", "--release", "v2", *because, "--json").json
    assert [one["to_version"] for one in done["rollbacks"]] == [1, None]
    assert shell.run("rollback", "--release", "v9", *because).exit_code == exits.ERROR
    assert "version 2 (v2) is live" in shell.ok("show", ONE).out
    assert "v2: live" in shell.ok("releases", "v2").out
    shell.ok("rollback", "--release", "v2", "--reason", "r", "--quarantine", "--yes")
    assert "gamma: no version of it is live" in shell.ok("show", "gamma").out
    assert "Version 2 of alpha could be" in shell.ok("quarantine", "--lift", ONE, "v2", "--dry-run").out
    assert "Version 2 of alpha may be" in shell.ok("quarantine", "--lift", ONE, "v2").out
    assert shell.run("quarantine", "--lift", ONE, "v2", "--dry-run").exit_code == exits.ERROR


def _two_releases(shell: Shell) -> None:
    for number, names in ((1, (ONE, TWO)), (2, (ONE, "gamma"))):
        for tool in names:
            shell.write(f"{tool}.py", code(number, tool))
        shell.ok("release", f"v{number}", *(f"{tool}.py" for tool in names))


def test_a_label_stands_for_a_version_where_calls_are_recorded(shell: Shell) -> None:
    """Recorded calls name their version by a label, in options and in files; `rollbacks` and `show` show labels."""
    _two_releases(shell)
    shell.ok("record", "--tool", ONE, "--success", "--version", "v1")
    shell.write("calls.csv", "tool_name,success,version_number\nalpha,true,v1\nalpha,false,2\n")
    shell.ok("record", "--file", "calls.csv")
    shell.write("calls.jsonl", '{"tool_name": "alpha", "success": true, "version_number": "v2"}\n')
    shell.ok("record", "--file", "calls.jsonl")
    found = [one["version_number"] for one in shell.ok("calls", ONE, "--json").json]
    assert sorted(found) == [1, 1, 2, 2]
    shell.write("calls.jsonl", '{"tool_name": "alpha", "success": true, "version_number": "v9"}\n')
    refused = shell.run("record", "--file", "calls.jsonl")
    assert (refused.exit_code, "line 1: alpha has no version v9" in refused.err) == (exits.ERROR, True)
    shell.ok("rollback", ONE, "--to", "v1", "--reason", "r", "--yes")
    assert "2 (v2) → 1 (v1)" in shell.ok("rollbacks").out
    assert "Last rollback: 2 (v2) → 1 (v1)" in shell.ok("show", ONE).out


def test_a_package_is_released_on_the_command_line(shell: Shell) -> None:
    """A package's folder stands where a file may; its tools are listed, and go live and back together."""
    for number in (1, 2):
        for name in ("search", "fetch"):
            text = f"from rollguard import tool\n\n\n@tool\n{code(number, name)}"
            shell.write(f"v{number}/web/{name}.py", text)
        shell.write(f"v{number}/web/__init__.py", "from .fetch import fetch\nfrom .search import search\n")
        shell.ok("release", f"v{number}", f"v{number}/web")
    assert "web/fetch" in shell.ok("tools").out
    planned = shell.ok("rollback", "web/fetch", "--reason", "r", "--dry-run").out
    assert "web/search" in planned
    assert shell.run("deploy", "v1/web").exit_code == exits.ERROR
    shell.ok("rollback", "web/fetch", "--reason", "r", "--yes")
    assert "web/search, version 1" in shell.ok("show", "web/search", "1").out
    assert shell.ok("call", "web/search", "x=1").out.strip() == "2"
    assert "+    return x + 2" in shell.ok("diff", "web/search", "v1", "v2").out
    assert shell.ok("doctor").exit_code == 0
