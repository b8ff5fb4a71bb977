"""docs/sql.md: every block of the page runs where it is meant to, and every column is described as it is."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Guard
from tests.contract.sql import DOCS, Row, ask, block, fenced, moment
from tests.contract.stories import (
    DAY,
    HOUR,
    five_and_ten_deployments,
    present,
    rollbacks_of_two_weeks,
    tools_that_need_attention,
    two_tests,
    two_tools_under_watch,
)
from tests.postgres import PostgresServer

PAGE = "sql.md"
TABLES = (
    *("deployment_monitoring", "deployment_health_checks", "deployment_rollbacks", "quarantined_code"),
    *("tool_actuations", "watchers", "tool_versions", "tool_deployments", "tool_executions"),
    *("investigation_reports", "releases", "release_tools", "shadow_test_results", "replay_test_results"),
    *("improvement_attempts", "improvement_events", "loop_statistics"),
)
VIEWS = (
    *("active_monitoring", "tool_health_history", "deployment_stability"),
    *("version_history_with_metrics", "version_stability"),
    *("tool_testing_history", "testing_summary", "improvement_history"),
)
TYPES = {
    "SERIAL": "integer",
    "BIGSERIAL": "bigint",
    "INT": "integer",
    "BIGINT": "bigint",
    "FLOAT": "double precision",
    "TEXT": "text",
    "BYTEA": "bytea",
    "BOOLEAN": "boolean",
    "TIMESTAMPTZ": "timestamp with time zone",
}
VERBATIM = {  # heading of the page: the contract's block, which PostgreSQL runs as it stands
    "active_monitoring": "active_monitoring.sql",
    "tool_health_history": "tool_health_history.sql",
    "deployment_stability": "deployment_stability.sql",
    "Tools with active regressions": "active_regressions.sql",
    "Recent rollbacks": "recent_rollbacks.sql",
    "Tools needing attention": "tools_needing_attention.sql",
    "Deployment stability report": "stability_report.sql",
}


def section(heading: str) -> str:
    """What the page says under a heading of the third level."""
    text = (DOCS / PAGE).read_text("utf-8")
    return re.split(r"^##", text.split(f"\n### {heading}\n")[1], maxsplit=1, flags=re.M)[0]


def form(heading: str, dialect: str) -> str:
    """The section's block for a database: its own, or the one for both."""
    blocks = dict(re.findall(r"^```sql *(.*)\n((?s:.*?))^```$", section(heading), re.M))
    return str(blocks.get(dialect) or blocks[""])


def described(heading: str) -> list[list[str]]:
    """The cells of the section's table of columns, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_block_of_the_page_runs(guard: Guard, url: str, dialect: str) -> None:
    """Each block runs on the database it is meant for and, on a store where much has happened, finds something."""
    now = present()
    tools_that_need_attention(guard, now)
    rollbacks_of_two_weeks(guard, now)
    five_and_ten_deployments(guard)
    two_tests(guard, now)
    blocks = fenced(PAGE, "sql")
    assert {meant_for for meant_for, _ in blocks} == {"", "postgresql", "sqlite"}
    for meant_for, text in blocks:
        if meant_for in ("", dialect):
            rows = ask(url, text)
            assert rows or text.startswith("INSERT"), text


@pytest.mark.parametrize("heading", VERBATIM)
def test_the_pages_queries_are_the_contracts(heading: str) -> None:
    """The form for PostgreSQL is the contract's, to the letter."""
    assert form(heading, "postgresql") == block(VERBATIM[heading])


def test_a_program_can_insert_executions(guard: Guard, url: str, dialect: str) -> None:
    """An execution that another program inserts is one of the tool's, at the present time."""
    guard.deploy(1)
    now = present()
    session_id = guard.watch(at=now - HOUR)
    ask(url, form("tool_executions", dialect))
    current = guard.monitor.check_health("my_tool", session_id, now=now + HOUR)["current"]
    assert (current["total_executions"], current["successes"], current["avg_duration_ms"]) == (1, 1, 12.5)


def test_recent_rollbacks_on_both(guard: Guard, url: str, dialect: str) -> None:
    """Both forms of the query show the rollbacks of the last 7 days, newest first."""
    now = present()
    rollbacks_of_two_weeks(guard, now)
    rows = ask(url, form("Recent rollbacks", dialect))
    assert [(row["tool_name"], moment(row["rollback_time"]), row["regression_severity"]) for row in rows] == [
        ("two_hours", now - 2 * HOUR, "high"),
        ("three_days", now - 3 * DAY, "high"),
        ("nearly_seven", now - 7 * DAY + 2 * HOUR, "critical"),
    ]


def test_tools_needing_attention_on_both(guard: Guard, url: str, dialect: str) -> None:
    """Both forms of the query show the same tools in the same order."""
    tools_that_need_attention(guard, present())
    rows = ask(url, form("Tools needing attention", dialect))
    assert [row["tool_name"] for row in rows] == ["never_checked", "other_tool", "hardly_checked"]


def test_rolled_back_versions_are_told_with_their_reason(guard: Guard, url: str, dialect: str) -> None:
    """The query shows each version that was rolled back, with how it did and why it was."""
    rollbacks_of_two_weeks(guard, present())
    rows = ask(url, form("Versions that were rolled back, and why", dialect))
    assert [row["tool_name"] for row in rows] == ["two_hours", "three_days", "nearly_seven", "over_seven", "fourteen"]
    assert (rows[0]["version_number"], rows[0]["success_rate"]) == (2, 0.7)
    assert rows[0]["rolled_back_reason"].startswith("6 of 20 calls failed (30 %)")


def test_the_version_that_did_best(guard: Guard, url: str, dialect: str) -> None:
    """The query puts the version with the highest success rate first."""
    two_tools_under_watch(guard, present())
    rows = ask(url, form("The version that did best", dialect))
    assert [(row["version_number"], row["executions"], row["success_rate"]) for row in rows] == [
        (1, 100, 0.9),
        (2, 25, 0.88),
    ]


@pytest.mark.parametrize(("heading", "part"), [("Baseline metrics", "baseline"), ("Current metrics", "current")])
def test_metrics_agree_with_the_report_on_both(guard: Guard, url: str, dialect: str, heading: str, part: str) -> None:
    """Both forms of the metrics count what the report counts, at the edges of the windows too."""
    now = present()
    fine, _ = two_tools_under_watch(guard, now)
    deployed = guard.session(fine).deployment_time
    assert fine == 1  # the session that the page's queries name
    for at in (deployed - 7 * DAY, deployed, deployed - 7 * DAY - HOUR / 3600, now + HOUR):
        guard.calls(0, 1, start=at, ms=50.0)
    anew = guard.monitor.start_monitoring("my_tool", deployed)  # its baseline is counted now, with the late ones
    report = guard.monitor.check_health("my_tool", anew, now=now)[part]
    (row,) = ask(url, form(f"{heading} of a session", dialect))
    assert (row["total"], row["successes"]) == (report["total_executions"], report["successes"])
    assert row["total"] == {"baseline": 101, "current": 26}[part]
    assert row["avg_duration"] == pytest.approx(report["avg_duration_ms"])


@pytest.mark.parametrize("table", TABLES)
def test_columns_of_the_tables_are_described_as_they_are(postgres: PostgresServer, table: str) -> None:
    """The page names every column of the table in its order, with its type, and whether it is required."""
    expected = []
    for row in _columns(postgres.new_database(), table):
        default = row["column_default"]
        if default is not None and (default.startswith("nextval") or default == "now()"):
            default = "NOW()" if default == "now()" else ""
        default = "" if default is None else re.sub(r"::.*", "", default)
        required = "yes" if row["is_nullable"] == "NO" else ""
        expected.append([row["column_name"], row["data_type"], required, default.replace("false", "FALSE")])
    page = [[name, _sql_type(kind), required, default] for name, kind, required, default, _ in described(table)]
    assert page == expected


@pytest.mark.parametrize("view", VIEWS)
def test_columns_of_the_views_are_described_as_they_are(guard: Guard, url: str, view: str) -> None:
    """The page names every column of the view, in its order, on both databases."""
    now = present()
    two_tools_under_watch(guard, now)
    two_tests(guard, now)
    assert [name for name, _ in described(view)] == list(ask(url, f"SELECT * FROM {view}")[0])


def _columns(url: str, table: str) -> list[Row]:
    return ask(
        url,
        "SELECT column_name, is_nullable, column_default, data_type || "
        "coalesce('(' || character_maximum_length || ')', '') AS data_type FROM information_schema.columns "
        f"WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position",
    )


def _sql_type(word: str) -> str:
    return word.replace("VARCHAR", "character varying") if word.startswith("VARCHAR") else TYPES[word]
