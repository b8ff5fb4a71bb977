"""What the demo of the loop promises: each repair ends as it says, and every number is the store's."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console

from examples.demo.journal import Journal
from examples.demo_loop.__main__ import main
from examples.demo_loop.board import Board
from examples.demo_loop.frame import Frame
from examples.demo_loop.scripted_improver import scripted
from examples.demo_loop.workspace import HERE, TOOLS, Model, amounts, make_workspace


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_demo_ends_as_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One repair is healthy, one is stopped by held-out calls, one since it breaks calls, and one is rolled back."""
    assert main(["--fast", "--keep", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    rows = sqlite3.connect(tmp_path / "demo" / "rollguard.db").execute(
        "SELECT tool_name, state, why FROM improvement_attempts ORDER BY attempt_id"
    )
    assert rows.fetchall() == [
        ("amount_cents", "succeeded", "healthy"),
        ("net_amount", "refused", "gate"),
        ("early_payment", "refused", "gate"),
        ("instalment", "failed", "rolled_back"),
    ]
    assert "amount_cents: version 2 serves all calls" in said
    assert "calls that were held out speak against it" in said
    assert "scripted improver" in said


def test_the_amounts_are_those_of_invoices() -> None:
    """Real amounts, of which those with commas fail in every tool's first version."""
    found = amounts()
    assert (len(found), sum("," in amount for amount in found)) == (149, 28)
    for tool in TOOLS:
        names: dict[str, object] = {}
        exec((HERE / "tools_v1" / f"{tool}.py").read_text(), names)
        function = names[tool]
        assert callable(function)
        for amount in found:
            if "," in amount:
                with pytest.raises(ValueError, match="could not convert"):
                    function(amount)
            else:
                assert function(amount)


@pytest.mark.parametrize("tool", TOOLS)
def test_each_scripted_answer_changes_its_tool(tool: str) -> None:
    """Every answer is Python, and another one than the tool."""
    source = (HERE / "tools_v1" / f"{tool}.py").read_text()
    answer = scripted(tool, source, ["1,005.10"])
    assert answer != source
    compile(answer, tool, "exec")


def test_a_model_takes_the_place_of_the_script(tmp_path: Path) -> None:
    """With an endpoint the settings name a model, its address and the variable of its key, and the frame is drawn."""
    workspace = make_workspace(tmp_path / "demo", Model("openai:some", "http://localhost:1/v1", "SOME_KEY"))
    with workspace.open({"SOME_KEY": "secret"}) as guard:
        assert guard.settings.improve.improvers[0].kind == "model"
        board = Board(guard, Journal(guard.store, TOOLS))
        board.read()
        out = Console(file=io.StringIO(), width=100, height=30, record=True)
        out.print(Frame(board), height=30)
        assert "amount_cents" in out.export_text()
