"""`rollguard release`, `releases` and `sync`, and labels where a version's number may stand."""

from __future__ import annotations

from rollguard.cli import exits
from tests.cli.conftest import Shell
from tests.conftest import code

ONE, TWO = "alpha", "beta"


def test_ci_reads_the_exit_code(shell: Shell) -> None:
    """On the command line 0 is released or nothing to do, 3 rolled back since, and 6 something live would be lost."""
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
