"""The API beyond recording: what it answers is what the library knows, and who acts is recorded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from rollguard import Rollguard
from tests.conftest import code
from tests.service.conftest import HERE, client_of, row

API = "/api/v1"


def items(client: TestClient, path: str, **filters: Any) -> list[dict[str, Any]]:
    """All items of a list, two at a time."""
    found, cursor = [], None
    while True:
        answer = client.get(f"{API}/{path}", params={"limit": 2, **filters, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found


def test_a_deployment_from_beginning_to_end(client: TestClient, guard: Rollguard) -> None:
    """Deploy, look, roll back, lift the quarantine: the system does it, and every list says so."""
    for number in (1, 2, 3):
        made = client.post(f"{API}/deployments", json={"tool_name": "my_tool", "code": code(number), "reason": "why"})
        assert (made.status_code, made.json()["version_number"]) == (201, number)
    same = client.post(f"{API}/deployments", json={"tool_name": "my_tool", "code": code(3)})
    assert (same.status_code, same.json()["changed"], same.json()["session_id"]) == (200, False, 3)
    assert [one["version_number"] for one in items(client, "deployments", tool="my_tool")] == [3, 2, 1]
    assert [one["version_number"] for one in items(client, "versions", tool="my_tool")] == [3, 2, 1]
    assert [(one["session_id"], one["status"]) for one in items(client, "sessions")] == [
        (3, "active"),
        (2, "superseded"),
        (1, "superseded"),
    ]
    assert [one["session_id"] for one in items(client, "sessions", status="active")] == [3]
    assert client.get(f"{API}/code", params={"tool": "my_tool", "version": 2}).content.decode() == code(2)
    assert "+    return x + 3" in client.get(f"{API}/diff?tool=my_tool&before=2&after=3").json()["diff"]
    done = client.post(f"{API}/rollbacks", json={"tool_name": "my_tool", "reason": "bad", "quarantine": True})
    assert (done.status_code, done.json()["to_version"], done.json()["requested_by"]) == (201, 2, "local")
    assert [one["rollback_id"] for one in items(client, "rollbacks")] == [1]
    again = client.post(f"{API}/deployments", json={"tool_name": "my_tool", "code": code(3)})
    assert (again.status_code, again.json()["error"]) == (409, "CodeQuarantined")
    assert [one["version_number"] for one in client.get(f"{API}/quarantine").json()] == [3]
    lifted = client.post(f"{API}/quarantine/lift", json={"tool_name": "my_tool", "version_number": 3})
    assert lifted.json()["lifted_by"] == "local"
    (tool,) = items(client, "tools")
    assert (tool["tool_name"], tool["live"]["version_number"]) == ("my_tool", 2)
    assert client.get(f"{API}/stability").json()[0]["total_rollbacks"] == 1


def test_a_release_over_the_api(client: TestClient) -> None:
    """Several tools go live together, once, and back together."""
    given = {"label": "v1", "tools": {"a": code(1, "a"), "b": code(1, "b")}, "metadata": {"image": "tools:1"}}
    assert client.post(f"{API}/releases", json=given).status_code == 201
    assert client.post(f"{API}/releases", json=given).json()["new"] is False
    assert [one["label"] for one in items(client, "releases")] == ["v1"]
    tools = client.get(f"{API}/releases/tools", params={"label": "v1"}).json()
    assert [one["tool_name"] for one in tools] == ["a", "b"]
    done = client.post(f"{API}/releases/rollback", json={"label": "v1", "reason": "bad"}).json()
    assert {one["tool_name"] for one in done["rollbacks"]} == {"a", "b"}


def test_a_session_is_checked_explained_and_cancelled(client: TestClient, guard: Rollguard) -> None:
    """A check is made and listed, explained from its record, and a session ends at a person's request."""
    guard.deploy("my_tool", code(1))
    client.post(f"{API}/executions", json=[row(n, executed_at=datetime.now(UTC).isoformat()) for n in range(12)])
    report = client.post(f"{API}/sessions/1/check").json()
    assert report["current"]["total_executions"] == 12
    (check,) = items(client, "sessions/1/checks")
    assert check["verdict"] == report["verdict"]
    assert client.get(f"{API}/sessions/1/explain").json()["checks"]["made_again"] == 1
    assert client.post(f"{API}/sessions/1/cancel", json={"reason": " "}).status_code == 422
    assert client.post(f"{API}/sessions/1/cancel", json={"reason": "enough"}).json()["status"] == "cancelled"
    gone = client.post(f"{API}/sessions/1/cancel", json={"reason": "enough"})
    assert (gone.status_code, gone.json()["error"]) == (409, "SessionClosed")


def test_executions_are_listed_in_pages(client: TestClient, guard: Rollguard) -> None:
    """Each execution is on one page, also where many began at the same time, and filters hold on every page."""
    rows = [row(n, executed_at=f"2026-03-01T12:00:0{n // 4}Z", success=n % 3 > 0) for n in range(12)]
    client.post(f"{API}/executions", json=rows)
    assert [one["execution_id"] for one in items(client, "executions")] == [f"call-{n}" for n in range(11, -1, -1)]
    assert [one["execution_id"] for one in items(client, "executions", failed=True)] == [
        f"call-{n}" for n in (9, 6, 3, 0)
    ]
    assert items(client, "executions", tool="other") == []


def test_what_is_weak_is_found(client: TestClient, guard: Rollguard) -> None:
    """An investigation is made, kept and listed; opportunities and watchers are said."""
    now = datetime.now(UTC).isoformat()
    rows = [row(n, success=n % 2 > 0, error=None if n % 2 else "KeyError: 'x'", executed_at=now) for n in range(20)]
    client.post(f"{API}/executions", json=rows)
    report = client.post(f"{API}/investigations", json={"tool_name": "my_tool"})
    assert report.status_code == 201, report.text
    assert report.json()["failures"] == 10
    assert len(client.get(f"{API}/investigations", params={"tool": "my_tool"}).json()) == 1
    assert isinstance(client.get(f"{API}/opportunities").json(), list)
    assert client.get(f"{API}/watchers").json()["coverage"] == "nothing_to_watch"


def test_a_rollout_over_the_api(client: TestClient, guard: Rollguard) -> None:
    """A deployment begins as a rollout; people pause, resume and promote it; its key is not shown."""
    guard.deploy("my_tool", code(1))
    new = {"tool_name": "my_tool", "code": code(2), "rollout": [0.1, 0.5]}
    rollout = client.post(f"{API}/deployments", json=new).json()["rollout_id"]
    for what, state in (("pause", "paused"), ("resume", "running"), ("promote", "promoted")):
        done = client.post(f"{API}/rollouts/{what}", json={"tool_name": "my_tool", "reason": "so"})
        assert done.status_code == 200, done.text
        assert done.json()["rollout_id"] == rollout
        assert state[:4] in done.json()["state"] or what == "resume"
    (shown,) = items(client, "rollouts", tool="my_tool")
    assert (shown["ended_by"], "key" in shown) == ("local", False)
    assert client.post(f"{API}/rollouts/abort", json={"tool_name": "my_tool"}).status_code == 422


def test_proposals_are_empty_until_the_loop_proposes(here: TestClient) -> None:
    """Without attempts the list is empty, and a decision about one that is not there is refused."""
    assert items(here, "proposals") == []
    assert here.get(f"{API}/proposals/1").json()["error"] == "UnknownAttempt"
    wanted = {"binding": "0" * 64, "reason": "good"}
    assert here.post(f"{API}/proposals/1/approve", json=wanted).status_code == 404
    assert here.post(f"{API}/proposals/1/reject", json={"reason": "bad"}).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "sessions/99", 404, "no monitoring session 99"),
        ("GET", "sessions/0", 422, "greater than or equal to 1"),
        ("GET", "version?tool=my_tool&version=7", 404, "has no version 7"),
        ("GET", "version?tool=my_tool&version=99999999999999999999", 404, "has no version"),
        ("GET", "tools?cursor=%21%21", 422, "cursor"),
        ("GET", "rollbacks?cursor=YWJj", 422, "cursor"),
        ("GET", "executions?cursor=MjAyNg", 422, "cursor"),
        (
            "GET",
            "deployments?tol=my_tool",
            422,
            "'tol' is no parameter of /api/v1/deployments",
        ),
        ("GET", "tools?limit=501", 422, "less than or equal to 500"),
        ("GET", "versions?tool=a%00b", 422, "NUL"),
        ("GET", "nowhere", 404, "there is nothing at"),
        ("DELETE", "tools", 405, "it takes GET"),
        ("POST", "rollbacks", 422, "body"),
    ],
)
def test_refusals_say_what_to_do(client: TestClient, method: str, path: str, status: int, says: str) -> None:
    """Every refusal is a problem with what happened and what to do."""
    answer = client.request(method, f"{API}/{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


def test_who_acts_is_the_holder_of_the_token(sqlite_guard: Rollguard, token: Callable[..., dict[str, str]]) -> None:
    """What is done with a token is recorded under its holder's name, and each endpoint asks for its scope."""
    client = client_of(sqlite_guard, open_=False)
    ann, bob = token("operate", name="ann"), token("read", name="bob")
    for version in (1, 2):
        new = {"tool_name": "my_tool", "code": code(version)}
        assert client.post(f"{API}/deployments", json=new, headers=ann).status_code == 201
    assert client.get(f"{API}/deployments", headers=bob).json()["items"][0]["deployed_by"] == "ann"
    assert client.get(f"{API}/deployments", headers=ann).status_code == 403
    undone = {"tool_name": "my_tool", "reason": "bad"}
    assert client.post(f"{API}/rollbacks", json=undone, headers=bob).status_code == 403
    assert client.post(f"{API}/rollbacks", json=undone, headers=ann).json()["requested_by"] == "ann"
    wanted = {"binding": "0" * 64, "reason": "good"}
    assert client.post(f"{API}/proposals/1/approve", json=wanted, headers=ann).status_code == 403


def test_a_prefix_of_a_proxy(sqlite_guard: Rollguard) -> None:
    """Behind a proxy that adds a prefix, the document names it, and paths are answered."""
    app = client_of(sqlite_guard, root_path="/rollguard").app
    client = TestClient(app, HERE, root_path="/rollguard")  # as the server is configured
    assert client.get("/rollguard/healthz").status_code == 200
    assert client.head("/rollguard/healthz").status_code == 200
    assert client.get("/rollguard/openapi.json").json()["servers"] == [{"url": "/rollguard"}]
