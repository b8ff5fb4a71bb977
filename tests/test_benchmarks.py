"""Every benchmark runs at a tiny size and prints what it should. What it measures then means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, page
from benchmarks.__main__ import main, measure
from benchmarks.harness import Aim, Options, Result

ROOT = Path(__file__).parents[1]
TINY = Options(runs=1, tiny=True)
SAYS = {
    "caller_overhead": ("registry.call", "two versions at once", "@tool", "floor", "under 3 µs", "at most 1 µs more"),
    "payload_cost": ("a context", "dicts", "models", "at most 50 µs"),
    "ingest": ("SQLite: bare executemany", "PostgreSQL: bare COPY", "all folded"),
    "otlp": ("parsing alone", "a minimal receiver", "SQLite, JSON: Rollguard", "PostgreSQL, protobuf: Rollguard"),
    "check_cost": ("SQLite: 400 rows", "PostgreSQL: 400 rows", "raw queries"),
    "many_sessions": ("SQLite: 6 sessions", "PostgreSQL: 6 sessions", "in under 3 s"),
    "recorder_memory": ("SQLite", "PostgreSQL away", "nothing lost: 0"),
    "decision": ("1,000,000 + 100,000", "cold", "warm"),
    "backtest": ("SQLite: 2 tools", "PostgreSQL: 2 tools", "one decision"),
    "rollback_latency": ("SQLite", "PostgreSQL", "median", "p99", "at most 100 ms"),
    "opportunities": ("SQLite: 5 tools", "PostgreSQL: 5 tools", "in under 1 s"),
    "loop_cycle": ("SQLite: 5 tools", "PostgreSQL: 5 tools", "in under 2 s"),
    "pages": ("SQLite: overview", "PostgreSQL: tool", "p99 of each page within 100 ms"),
    "causes": ("true cause first", "one named where there is none", "lift"),
    "start_up": ("SQLAlchemy and Typer imported", "rollguard status", "rollguard tools"),
    "sandbox_start": ("python -I -c pass", "first answer", "within 100 ms of a processor"),
    "service": ("parsing alone", "API, one caller", "client", "at least 0.5"),
    "before_after": ("before", "after", "ingest", "restored"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", page.ALL)
@pytest.mark.filterwarnings("ignore")
def test_a_benchmark_runs_and_prints_its_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run by its name, a benchmark prints its table and its aims."""
    assert main([name, "--tiny", "--runs", "1"]) == 0
    printed = capsys.readouterr().out
    for words in SAYS[name]:
        assert words in printed


def test_every_benchmark_is_known() -> None:
    """Every module that measures is run by default."""
    folder = Path(page.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "\ndef run(" in path.read_text()}
    assert modules == set(page.ALL) == set(SAYS)


def test_benchmarks_need_no_test_runner() -> None:
    """`make bench` has its own environment, without pytest: every benchmark can be imported there."""
    imports = ", ".join(f"benchmarks.{name}" for name in [*page.ALL, "soak"])
    code = f"import sys; sys.modules['pytest'] = None; import {imports}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is refused with those that are."""
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "caller_overhead" in capsys.readouterr().err


def test_a_kept_result_replaces_its_own_section_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page shows every result that was ever kept, each in its latest state, and a missed aim as missed."""
    monkeypatch.setattr(page, "KEPT", tmp_path / "results.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    for name, measured, met in (("ingest", "0.5", False), ("decision", "9 µs", True), ("ingest", "0.9", True)):
        aims = [Aim("aim", measured, met, profile=None if met else "why")]
        page.keep(Result(name, name.title(), "About.", ["a", "b"], [["1", "2"]], aims, options={"runs": 5}))
        text = page.PAGE.read_text()
        assert f"{'Met' if met else '**Missed**'}: aim. Measured: {measured}." in text
    assert "Measured: 9 µs." in text
    assert "0.5" not in text
    assert list(json.loads(page.KEPT.read_text())) == ["ingest", "decision"]


def test_the_page_is_that_of_the_kept_results() -> None:
    """`docs/benchmarks.md` says what `benchmarks/results.json` holds, of every benchmark."""
    kept = {name: Result.from_dict(value) for name, value in json.loads(page.KEPT.read_text()).items()}
    assert tuple(kept) == page.ALL
    assert page.PAGE.read_text() == page.page(kept)


def test_a_profile_shows_no_path_of_the_machine() -> None:
    """A profile names modules, not where they lie."""
    lines = harness.profile(lambda: json.dumps({"a": list(range(1_000))}, indent=1))
    assert "json/encoder.py" in lines
    assert " /" not in lines


def test_a_result_tells_the_machine_and_its_options() -> None:
    """Every result says what it was measured on, and with what options."""
    result = measure("decision", TINY)
    assert {"CPU", "Memory", "Python", "SQLite"} <= set(result.machine)
    assert result.options == {"runs": 1, "full": False}
