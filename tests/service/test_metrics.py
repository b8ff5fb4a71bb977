"""Metrics for Prometheus, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import rollguard.service
from rollguard import Rollguard
from tests.conftest import NOW
from tests.service.conftest import client_of, row
from tests.service.otlp.sending import TOOL, Sent, post

DASHBOARD = Path(rollguard.service.__file__).parent / "grafana" / "rollguard.json"


PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def documented() -> dict[str, set[str]]:
    """The labels of each metric, as the page of metrics has them."""
    rows = re.findall(r"^\| (`rollguard_.*?) \| [^|]+ \| ([^|]*)\|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)}


def scraped(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a scrape, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_is_measured(guard: Rollguard) -> None:
    """Sessions, their latest checks, deployments, rollbacks, calls, watchers, alerts and spans are there."""
    code = "def my_tool(x: int) -> int:\n    return x\n"
    guard.deploy("my_tool", code, deployed_at=NOW - timedelta(days=1))
    session = guard.deploy("my_tool", code + "# 2\n", deployed_at=NOW).session_id
    assert session is not None
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": n % 2 == 0, "executed_at": NOW + timedelta(minutes=n)} for n in range(20)
    )
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": True, "executed_at": NOW - timedelta(minutes=n)} for n in range(1, 40)
    )
    guard.monitor.check_health("my_tool", session, now=NOW + timedelta(hours=1))
    guard.store.store_tool_execution(tool_name="now", success=True)
    with client_of(guard) as client:
        post(client, Sent(1, None, dict(TOOL)))
        found = scraped(client)
    which = (("tool", "my_tool"), ("version", "2"))
    assert found["rollguard_sessions_active", ()] == 1
    assert found["rollguard_session_regressed", which] == 1
    assert found["rollguard_session_success_drop_ratio", which] == 0.5
    assert found["rollguard_session_last_check_timestamp_seconds", which] > NOW.timestamp()
    assert found["rollguard_deployments_total", (("tool", "my_tool"),)] == 2
    assert found["rollguard_rollbacks_total", (("tool", "my_tool"),)] == 0
    assert found["rollguard_recent_calls", (("outcome", "success"), ("tool", "now"))] == 1
    assert found["rollguard_watchers", (("state", "watching"),)] == 0
    assert found["rollguard_alerts_pending", ()] >= 0
    assert found["rollguard_spool_bytes", ()] == 0
    assert found["rollguard_otlp_spans_total", (("kind", "calls"),)] == 1
    assert found["rollguard_otlp_executions_total", ()] == 1
    ours = {(name, frozenset(dict(labels))) for name, labels in found if name.startswith("rollguard_")}
    assert ours <= {(name, frozenset(labels)) for name, labels in documented().items()}
    assert any(name == "process_resident_memory_bytes" for name, _labels in found)


def test_formats_and_scope(sqlite_guard: Rollguard, token: Callable[..., dict[str, str]]) -> None:
    """Prometheus gets its own format or OpenMetrics, as it asks; it needs a token that may read."""
    with client_of(sqlite_guard, open_=False) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=token("ingest")).status_code == 403
        reader = token("read", name="prometheus")
        assert client.get("/metrics", headers=reader).headers["content-type"].startswith("text/plain; version=")
        answer = client.get("/metrics", headers={**reader, "accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")


def test_promtool(here: TestClient) -> None:
    """Prometheus' own tool finds no fault with the names, types and help texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; install it with: make system")
    here.post("/api/v1/executions", json=[row(1)])
    text = here.get("/metrics").text
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --- the dashboard ---------------------------------------------------------------------------------------------------

# What Grafana's own schema of dashboards (kinds/dashboard) needs, for what is used here.
_SOURCE = {
    "type": "object",
    "required": ["type", "uid"],
    "properties": {"type": {"const": "prometheus"}, "uid": {"const": "${datasource}"}},
}
_POSITION = {
    "type": "object",
    "required": ["x", "y", "w", "h"],
    "properties": {
        "x": {"type": "integer", "minimum": 0, "exclusiveMaximum": 24},
        "y": {"type": "integer", "minimum": 0},
        "w": {"type": "integer", "minimum": 1, "maximum": 24},
        "h": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
}
_PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos", "datasource", "targets", "fieldConfig"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["stat", "timeseries"]},
        "title": {"type": "string", "minLength": 1},
        "gridPos": _POSITION,
        "datasource": _SOURCE,
        "fieldConfig": {"type": "object", "required": ["defaults", "overrides"]},
        "targets": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["refId", "expr", "datasource"],
                "properties": {"refId": {"pattern": "^[A-Z]$"}, "expr": {"type": "string"}, "datasource": _SOURCE},
            },
        },
    },
}
_SCHEMA = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "panels", "time", "templating", "annotations"],
    "properties": {
        "title": {"type": "string"},
        "uid": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "refresh": {"type": "string"},
        "time": {"type": "object", "required": ["from", "to"]},
        "panels": {"type": "array", "items": _PANEL, "minItems": 1},
        "templating": {
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": {"type": "object", "required": ["name", "type", "query"]}}
            },
        },
    },
}


def test_the_dashboard_is_one_of_grafana() -> None:
    """The file has the form of a dashboard: ids are unique, no panel lies on another, the source is chosen."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    jsonschema.validate(dashboard, _SCHEMA)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource"]


def test_the_dashboard_shows_metrics_that_there_are(here: TestClient, tmp_path: Path) -> None:
    """Each metric and label in a query and in what it is called is there, and Prometheus' own tool reads each query."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    shown = [
        (target["expr"], target.get("legendFormat", "")) for panel in dashboard["panels"] for target in panel["targets"]
    ]
    shown += [(one["expr"], one["titleFormat"]) for one in dashboard["annotations"]["list"]]
    queries = [query for query, _name in shown]
    help_of = set(re.findall(r"^# HELP (\w+)", here.get("/metrics").text, re.MULTILINE))
    labels_of = documented()
    assert set(labels_of) <= help_of
    for query, name in shown:
        metrics = re.findall(r"rollguard_\w+", query)
        labels = set[str]().union(*(labels_of[metric] for metric in metrics))
        kept = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in re.findall(r"\w+", group)}
        assert kept | set(re.findall(r"(\w+)=", query)) <= labels, query
        assert set(re.findall(r"\{\{(\w+)\}\}", name)) <= kept, query
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; install it with: make system")
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
