"""The pages: what they show comes from the store, and who may see and do it is decided as for the API."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from benchmarks import pages
from rollguard import Rollguard
from rollguard.cli import main
from rollguard.model import attempt
from rollguard.model.event import Event, EventKind, Level
from rollguard.notify.message import message_of
from rollguard.service.app import create_app
from rollguard.service.pages.render import EVENTS
from rollguard.settings import Settings
from tests.conftest import Guard, code
from tests.loop.improving import TOOL, System
from tests.rollout.helpers import Beside
from tests.service.conftest import HERE, client_of

HOUR = timedelta(hours=1)
EVIL = '<script>alert("1")</script>\u202e'


def story(guard: Rollguard, *, failing: bool = True, tool: str = "my_tool") -> int:
    """Let a tool have a good version, then one that fails or not, checked once; return its session."""
    now = datetime.now(UTC)
    deployed = now - HOUR
    guard.registry.deploy(tool, code(1, tool), deployed_at=now - 50 * HOUR)
    guard.registry.deploy(tool, code(2, tool), deployed_at=deployed, reason=f"because {EVIL}")
    guard.store.store_tool_executions(
        {
            "tool_name": tool,
            "success": not (failing and at >= deployed and number % 2),
            "duration_ms": 10.0 + number % 7,
            "error": f"KeyError: {EVIL}" if failing and at >= deployed and number % 2 else None,
            "error_type": "KeyError" if failing and at >= deployed and number % 2 else None,
            "executed_at": at,
            "version_number": 2 if at >= deployed else 1,
        }
        for number in range(80)
        for at in [now - 20 * HOUR + number * 20 * HOUR / 81 if number < 60 else deployed + (number - 59) * HOUR / 22]
    )
    session = guard.monitor.start_monitoring(tool, deployed, now=deployed, mode="observe")
    guard.monitor.auto_rollback_if_needed(tool, session)
    return session


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(client: TestClient, path: str, *, status: int = 200) -> _Seen:
    """Read a page."""
    response = client.get(path)
    assert response.status_code == status, response.text
    page = _Seen()
    page.feed(response.text)
    page.text = " ".join(page.text.split())
    return page


def form_of(client: TestClient, path: str) -> dict[str, str]:
    """Return the hidden fields of the form on a page."""
    hidden = (attrs for tag, attrs in seen(client, path).tags if tag == "input" and attrs.get("type") == "hidden")
    return {str(attrs["name"]): str(attrs["value"]) for attrs in hidden}


PAGES = ("/", "/tool?name=my_tool", "/sessions", "/sessions/1", "/rollbacks", "/calls", "/diff?name=my_tool&to=2")


def test_the_story_of_a_regression(guard: Rollguard, client: TestClient) -> None:
    """Overview, tool, session and rollbacks say what regressed, by which numbers, and what was done."""
    story(guard)
    overview = seen(client, "/").text
    assert "Needs attention" in overview
    assert "its rollback is observed" in overview
    assert "regressed" in overview
    tool = seen(client, "/tool?name=my_tool").text
    assert "Errors before and since v2" in tool
    assert "version 2" in tool
    session = seen(client, "/sessions/1").text
    assert "10 of 20 calls failed (50 %) since the deployment, 0 of 60 calls failed (0 %) before" in session
    assert "observed" in seen(client, "/rollbacks").text
    assert "The latest 50. Calls are listed" in seen(client, "/calls").text
    assert "The latest 50, of version 2. Calls" in seen(client, "/calls?name=my_tool&version=2").text
    assert "+def my_tool" not in seen(client, "/diff?name=my_tool&to=2").text
    assert "return x + 2" in seen(client, "/diff?name=my_tool&to=2").text


def test_alerts_lead_to_pages(proposed: System) -> None:
    """Each alert's link leads to the page of what it is about: the session, the proposal, the tool, or the overview."""
    client = client_of(proposed.guard)
    session = proposed.guard.monitor.start_monitoring(TOOL, proposed.now)
    kinds = (
        (EventKind.ROLLED_BACK, TOOL, int(session), {}, f"Session {session}"),
        (EventKind.PROPOSAL_WAITING, TOOL, None, {"attempt_id": 1}, "Proposal 1"),
        (EventKind.QUARANTINED_CODE, TOOL, None, {}, TOOL),
        (EventKind.WATCHER_SILENT, "", None, {}, "Overview"),
    )
    for kind, tool, session_id, details, title in kinds:
        event = Event(kind, Level.WARNING, tool, session_id, "", (), "", details)
        link = message_of([event], HERE).body.rpartition("See: ")[2]
        assert title in seen(client, link).text


def test_nothing_to_show(client: TestClient) -> None:
    """An empty store has pages that say so and what to do first."""
    for path in ("/", "/sessions", "/rollbacks", "/calls"):
        seen(client, path)
    assert "rollguard deploy" in seen(client, "/").text


def test_no_page_asks_for_each_tool(tmp_path: Path, sqlite_template: Path) -> None:
    """No page is read by more statements with 200 tools than with 10."""
    asked = {}
    for tools in (10, 200):
        file = tmp_path / f"{tools}.db"
        file.write_bytes(sqlite_template.read_bytes())
        with closing(sqlite3.connect(file)) as plain, plain:
            for statement in pages.statements(datetime.now(UTC), tools, sqlite=True):
                plain.execute(statement)
        settings = Settings(database=f"sqlite:///{file}", tools_dir=tmp_path / "tools")
        with Rollguard(settings, adopt=False) as guard:
            client, read = client_of(guard), []
            sa.event.listen(
                guard.store.database._engine, "before_cursor_execute", lambda *given, r=read: r.append(given[2])
            )
            for page, address in pages.ADDRESSES.items():
                read.clear()
                assert client.get(address.format(tool="tool_00002", session=3)).status_code == 200
                asked[page, tools] = len(read)
    assert [page for page in pages.ADDRESSES if asked[page, 200] > asked[page, 10]] == []


def test_every_event_of_an_attempt_has_a_name() -> None:
    """The time line of a proposal knows every event."""
    names = {each.name for each in vars(attempt).values() if isinstance(each, attempt.Transition)}
    assert {*names, "find", "freeze", "unfreeze"} == set(EVENTS)


def test_how_many_more_calls_a_session_needs(guard: Rollguard, client: TestClient) -> None:
    """A session without a verdict says how many more calls lead to one."""
    now = datetime.now(UTC)
    guard.registry.deploy("my_tool", code(1), deployed_at=now - 9 * HOUR)
    guard.store.store_tool_executions(
        {"tool_name": "my_tool", "success": True, "executed_at": now - 5 * HOUR + number * HOUR / 50}
        for number in range(203)
    )
    session = guard.monitor.start_monitoring("my_tool", now - HOUR)
    guard.monitor.check_health("my_tool", session)
    assert "7 more calls at the present rates" in seen(client, f"/sessions/{session}").text


def test_texts_from_outside_are_texts(guard: Rollguard, client: TestClient) -> None:
    """Names, reasons, errors and parameters are shown as they are: no markup, and nothing that reorders text."""
    story(guard, tool="my_tool")
    guard.store.store_tool_execution(
        tool_name=f"a {EVIL[:-1]}", success=False, error=EVIL, parameters={"x": EVIL}, executed_at=datetime.now(UTC)
    )
    for path in (*PAGES, "/calls?failed=true", "/tool?name=a%20%3Cscript%3Ealert(%221%22)%3C%2Fscript%3E"):
        page = seen(client, path)
        assert "\u202e" not in client.get(path).text
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert len(scripts) == 1
        assert str(scripts[0]["src"]).startswith("/static/")


@pytest.mark.parametrize(
    "path", [*PAGES, "/login", "/tool?name=nothing", "/rollback?name=my_tool", "/sessions/1/cancel"]
)
def test_a_strict_policy(sqlite_guard: Rollguard, here: TestClient, path: str) -> None:
    """No page needs more than `default-src 'self'`: no style or script in it, nothing of another host."""
    story(sqlite_guard)
    response = here.get(path)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["cache-control"] == "no-store"
    page = _Seen()
    page.feed(response.text)
    for tag, attrs in page.tags:
        assert tag != "style"
        assert not [name for name in attrs if name == "style" or name.startswith("on")]
        target = str(attrs.get("src") or attrs.get("href") or attrs.get("action") or "/")
        assert target.startswith(("/", "#")), target
        assert not target.startswith("//")


def test_every_link_leads_somewhere(sqlite_guard: Rollguard, here: TestClient) -> None:
    """Each address on each page exists, those behind the numbers too."""
    story(sqlite_guard)
    known, left = set[str](), ["/"]
    while left:
        path = left.pop()
        known.add(path)
        page = seen(here, path)
        links = {str(attrs.get("href")).partition("#")[0] for tag, attrs in page.tags if tag in ("a", "link")}
        new = {link for link in links if link.startswith("/")} - known - set(left)
        if len(known) < 150:
            left += sorted(new)
    assert {"/", "/rollbacks", "/sessions/1"} <= known
    assert any(path.startswith("/calls?name=my_tool&since=") for path in known)


def test_every_table_and_picture_can_be_read_aloud(sqlite_guard: Rollguard, here: TestClient) -> None:
    """Columns have headings, pictures have a title, fields a label, and a page one main heading."""
    story(sqlite_guard)
    for path in (*PAGES, "/login", "/rollback?name=my_tool"):
        page = seen(here, path)
        headings = [attrs for tag, attrs in page.tags if tag == "th"]
        assert all(attrs.get("scope") for attrs in headings)
        assert [tag for tag, _attrs in page.tags].count("h1") == 1
        pictures = [number for number, (tag, attrs) in enumerate(page.tags) if attrs.get("role") == "img"]
        assert all(page.tags[number + 1][0] == "title" for number in pictures)
        labels = {attrs.get("for") for tag, attrs in page.tags if tag == "label"}
        fields = [attrs for tag, attrs in page.tags if tag in ("input", "select")]
        fields = [attrs for attrs in fields if attrs.get("type") != "hidden" and "hidden" not in attrs]
        assert all(attrs.get("id") in labels for attrs in fields if attrs.get("type") != "checkbox")


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(sqlite_guard: Rollguard) -> Callable[..., TestClient]:
    """Makes browsers of people who logged in with a token of some scopes; without any, of nobody."""

    def make(*scopes: str, name: str = "ann") -> TestClient:
        client = client_of(sqlite_guard, open_=False)
        if not scopes:
            return client
        _made, secret = sqlite_guard.store.tokens.create(name, scopes, created_by="me", now=datetime.now(UTC))
        response = client.post("/login", data={"token": f" {secret}\n", "next": "/rollbacks"}, follow_redirects=False)
        assert (response.status_code, response.headers["location"]) == (303, "/rollbacks")
        cookie = response.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Max-Age=", "Path=/"))
        assert secret not in cookie
        return client

    return make


def test_without_a_token_there_is_a_way_to_log_in(closed: Callable[..., TestClient]) -> None:
    """Who is not logged in is led to the log-in, and from there back to where they wanted to go."""
    client = closed()
    response = client.get("/tool?name=a%26b", follow_redirects=False)
    assert response.headers["location"] == "/login?next=%2Ftool%3Fname%3Da%2526b"
    assert form_of(client, response.headers["location"])["next"] == "/tool?name=a%26b"
    assert client.get("/events", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"])
def test_a_log_in_leads_nowhere_else(closed: Callable[..., TestClient], elsewhere: str) -> None:
    """After a log-in nobody is led to another site."""
    assert form_of(closed(), f"/login?next={elsewhere}")["next"] == "/"


@pytest.mark.parametrize(("scopes", "status"), [((), 401), (("ingest",), 403)])
def test_a_token_that_does_not_let_in(
    sqlite_guard: Rollguard, closed: Callable[..., TestClient], scopes: tuple[str, ...], status: int
) -> None:
    """An unknown token, and one that may not read, is refused with what to do; the token is not shown."""
    secret = "rgt_unknown"
    if scopes:
        _made, secret = sqlite_guard.store.tokens.create("bob", scopes, created_by="me", now=datetime.now(UTC))
    response = closed().post("/login", data={"token": secret})
    assert response.status_code == status
    assert "rollguard token create" in response.text
    assert secret not in response.text


def test_logging_out_ends_the_log_in(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """After logging out the cookie is worth nothing, also if somebody kept it."""
    client = closed("read")
    kept = dict(client.cookies)
    assert client.get("/", follow_redirects=False).status_code == 200
    client.post("/logout")
    assert not client.cookies
    client.cookies.update(kept)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_the_stream_of_a_log_in_that_ended(closed: Callable[..., TestClient]) -> None:
    """An open page whose log-in has ended gets no stream, and its browser is told to ask no more."""
    client = closed("read")
    client.post("/logout")
    response = client.get("/events", headers={"Accept": "text/event-stream"}, follow_redirects=False)
    assert (response.status_code, response.content) == (204, b"")


def test_log_ins_are_not_in_the_list_of_tokens(
    sqlite_guard: Rollguard,
    closed: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`rollguard token list` shows the tokens that people made, and says how many log-ins there are."""
    closed("read")
    monkeypatch.setenv("ROLLGUARD_DATABASE", str(sqlite_guard.settings.database))
    assert main(["token", "list"]) == 0
    shown = capsys.readouterr()
    assert "ann" in shown.out
    assert "page" not in shown.out
    assert "1 log-in to the pages" in shown.err


def test_the_overview_keeps_nothing_that_changed(sqlite_guard: Rollguard) -> None:
    """What was recorded or decided since the last read is on the next overview."""
    client = client_of(sqlite_guard)
    for number in (1, 2, 3):
        sqlite_guard.store.store_tool_execution(tool_name="my_tool", success=number > 1, duration_ms=1.0)
        assert f"of {number} call" in seen(client, "/").text
    sqlite_guard.registry.deploy("other_tool", code(1, "other_tool"))
    assert "other_tool" in seen(client, "/").text


def test_a_log_in_ends_with_its_token(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """When a token is revoked, the log-ins made with it end."""
    client = closed("read")
    sqlite_guard.store.tokens.revoke("ann", datetime.now(UTC))
    client.app.state.logins._holders.clear()  # type: ignore[attr-defined] # otherwise it takes five seconds
    assert client.get("/", follow_redirects=False).status_code == 303


def test_the_cookie_is_no_bearer_of_more(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """An ordinary token in the cookie's place lets nobody in, and a log-in cannot log in again."""
    client = closed("read")
    _made, secret = sqlite_guard.store.tokens.create("eve", ["read"], created_by="me", now=datetime.now(UTC))
    mine = client.cookies["rollguard_login"]
    assert closed().post("/login", data={"token": mine}).status_code == 401
    client.cookies.clear()
    client.cookies.set("rollguard_login", secret)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_who_may_read_may_not_act(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """A reader sees no button to act, and acting is refused."""
    session = story(sqlite_guard)
    client = closed("read")
    assert "Roll back …" not in seen(client, "/tool?name=my_tool").text
    assert "this needs the scope operate" in seen(client, "/rollback?name=my_tool", status=403).text
    assert client.post(f"/sessions/{session}/cancel", data={"reason": "x"}).status_code == 403


# --- acting ----------------------------------------------------------------------------------------------------------


def test_rolling_back(guard: Rollguard) -> None:
    """A rollback asks for confirmation and a reason, and says in the history who did it and why."""
    story(guard)
    client = client_of(guard)
    form = form_of(client, "/rollback?name=my_tool")
    assert form["expected"] == "2"
    unsaid = client.post("/rollback", data={**form, "to": "1", "reason": " "})
    assert unsaid.status_code == 422
    done = client.post("/rollback", data={**form, "to": "1", "reason": "prices are wrong"}, follow_redirects=False)
    assert re.fullmatch(r"/rollbacks#rollback-\d+", done.headers["location"])
    rollback = guard.store.rollbacks.recent(limit=1)[0]
    assert (rollback.to_version, rollback.reason, rollback.requested_by) == (1, "prices are wrong", "local")
    late = client.post("/rollback", data={**form, "to": "1", "reason": "again"})
    assert late.status_code == 409
    assert "version 1 is live by now" in late.text


def test_without_a_good_version_no_button_leads_back(sqlite_guard: Rollguard, here: TestClient) -> None:
    """A tool has a button to roll back while there is a good version to go back to."""
    sqlite_guard.registry.deploy("my_tool", code(1))
    assert "Roll back …" not in seen(here, "/tool?name=my_tool").text
    sqlite_guard.registry.deploy("my_tool", code(2))
    assert "Roll back …" in seen(here, "/tool?name=my_tool").text
    sqlite_guard.monitor.roll_back("my_tool", reason="it is worse", requested_by="ann")
    assert "Roll back …" not in seen(here, "/tool?name=my_tool").text


def test_stopping_a_session(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """Stopping a session's monitoring is noted with the name of who did it."""
    session = story(sqlite_guard, failing=False)
    client = closed("read", "operate")
    form = form_of(client, f"/sessions/{session}/cancel")
    client.post(f"/sessions/{session}/cancel", data={**form, "reason": "not needed"})
    found = sqlite_guard.store.sessions.get(session)
    assert (found.status, found.notes) == ("cancelled", "not needed (by ann)")


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}]
)
def test_another_site_cannot_act(
    sqlite_guard: Rollguard, closed: Callable[..., TestClient], headers: dict[str, str]
) -> None:
    """A form that a page of another site sends does nothing, even with a cookie and a token that were stolen."""
    session = story(sqlite_guard)
    client = closed("read", "operate")
    form = form_of(client, f"/sessions/{session}/cancel")
    assert client.post(f"/sessions/{session}/cancel", data={**form, "reason": "x"}, headers=headers).status_code == 403
    assert sqlite_guard.store.sessions.get(session).active


def test_a_form_needs_its_own_token(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """A form without its token, or with that of another log-in, does nothing, with or without a token."""
    session = story(sqlite_guard)
    open_ = client_of(sqlite_guard)
    assert open_.post(f"/sessions/{session}/cancel", data={"reason": "x"}).status_code == 403
    ann, bob = closed("read", "operate"), closed("read", "operate", name="bob")
    other = form_of(bob, f"/sessions/{session}/cancel")
    for form in ({}, {"form_token": "0" * 64}, other):
        assert ann.post(f"/sessions/{session}/cancel", data={**form, "reason": "x"}).status_code == 403
    assert sqlite_guard.store.sessions.get(session).active


def test_another_name_of_this_machine(here: TestClient) -> None:
    """A name that another site had point to this machine reads nothing and does nothing."""
    assert here.get("/", headers={"host": "evil.example"}).status_code == 421


def test_behind_a_prefix(sqlite_guard: Rollguard) -> None:
    """Behind a reverse proxy that puts a prefix before each path, every link has it."""
    story(sqlite_guard)
    client = TestClient(create_app(sqlite_guard, open_to_this_machine=True, watch=False), HERE, root_path="/guard")
    for path in ("/guard/", "/guard/tool?name=my_tool", "/guard/login"):
        page = seen(client, path)
        links = [str(attrs.get("href") or attrs.get("action") or attrs.get("src") or "") for _tag, attrs in page.tags]
        assert all(link.startswith("/guard/") for link in links if link.startswith("/"))


def test_what_is_not_there(here: TestClient) -> None:
    """What does not exist is answered by a page that says so."""
    assert "nothing is not known" in seen(here, "/tool?name=nothing", status=404).text
    assert "there is no monitoring session 99" in seen(here, "/sessions/99", status=404).text
    assert seen(here, "/sessions/many", status=422)
    browser = here.get("/tools/my_tool", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (browser.status_code, "there is nothing at /tools/my_tool" in browser.text) == (404, True)
    assert browser.headers["content-type"].startswith("text/html")
    assert here.get("/tools/my_tool").headers["content-type"] == "application/problem+json"
    assert here.get("/static/nothing.js").status_code == 404
    assert here.get("/static/..%2Froutes.py").status_code == 404


# --- rollouts and proposals ------------------------------------------------------------------------------------------


def test_a_rollout_is_seen_and_decided(guard: Rollguard) -> None:
    """Overview, tool and session show both versions of a rollout; a person promotes it, with confirmation."""
    beside = Beside(Guard(guard.store, guard.registry, guard.monitor), [0.5])
    beside.calls(40, new=0.05, old=0.05)
    beside.check()
    client = client_of(guard)
    assert "In a rollout my_tool v2 beside v1" in seen(client, "/").text
    session = seen(client, f"/sessions/{beside.session_id}").text
    assert "Both versions, side by side" in session
    assert "at a share of 50 %" in session
    seen(client, "/tool?name=my_tool&range=30d")
    form = form_of(client, "/rollout?name=my_tool&action=promote")
    assert client.post("/rollout", data={**form, "reason": " "}).status_code == 422
    done = client.post("/rollout", data={**form, "reason": "it is fine"}, follow_redirects=False)
    assert done.headers["location"] == f"/sessions/{beside.session_id}"
    rollout = beside.rollout
    assert (str(rollout.ramp.state), rollout.ended_by, rollout.ended_why) == ("promoted", "local", "it is fine")
    assert client.post("/rollout", data={**form, "reason": "again"}).status_code == 409
    assert seen(client, "/rollout?name=my_tool&action=abort", status=404)


@pytest.mark.parametrize(("action", "state"), [("approve", "approved"), ("reject", "refused")])
def test_a_proposal_is_seen_and_decided(proposed: System, action: str, state: str) -> None:
    """A proposal says its cause, what it fixes and breaks, and its code; who may approve decides, with a reason."""
    client = client_of(proposed.guard)
    assert "Waiting for a decision" in seen(client, "/proposals").text
    assert "Proposals that wait for a person" in seen(client, "/").text
    page = seen(client, "/proposals/1").text
    assert "Cause" in page
    assert "fixed" in page
    assert "could not convert" in page
    assert "Rehearsed on recorded calls" in page
    assert "Found by the loop" in page
    form = form_of(client, "/proposals/1")
    changed = {**form, "binding": "0" * 64, "action": action, "reason": "x"}
    assert client.post("/proposals/1", data=changed).status_code == 409
    assert client.post("/proposals/1", data={**form, "action": action, "reason": ""}).status_code == 422
    client.post("/proposals/1", data={**form, "action": action, "reason": "as I see it"})
    assert proposed.attempt.state == state
    last = proposed.store.attempt_events.of(1)[-1]
    assert (last.by, last.reason) == ("local", "as I see it")
    assert "There is nothing to decide" in seen(client, "/proposals/1").text or action == "approve"


def test_who_may_operate_may_not_approve(sqlite_guard: Rollguard, closed: Callable[..., TestClient]) -> None:
    """Deciding about proposals needs the scope approve."""
    client = closed("read", "operate")
    form = {"action": "approve", "binding": "x", "reason": "x"}
    assert client.post("/proposals/1", data=form).status_code == 403
    assert closed("read", "approve", name="bob").post("/proposals/1", data=form).status_code in (403, 404)
