"""The pages in a real browser: the story of a regression appears by itself, and what a person clicks is done."""

from __future__ import annotations

import html
import os
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from rollguard import Rollguard
from rollguard.service.app import create_app
from rollguard.service.pages.login import COOKIE
from tests.conftest import code
from tests.loop.improving import TOOL, System
from tests.service.proxy import Proxy
from tests.service.test_pages import EVIL, story

CHROMIUM = Path("/usr/bin/chromium")
HOUR = timedelta(hours=1)
PAGES = ("/", "/tool?name=my_tool", "/sessions", "/sessions/1", "/rollbacks", "/calls?failed=true")
FORMS = ("/diff?name=my_tool&to=2", "/rollback?name=my_tool", "/sessions/1/cancel", "/tool?name=nothing")
SCREENS = [(width, scheme) for width in (1320, 360) for scheme in ("light", "dark")]
REFRESHED = 15_000  # milliseconds that a page may take to follow a change, on a loaded machine

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not CHROMIUM.exists() and "CI" not in os.environ, reason="no /usr/bin/chromium; install it: make system"
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, for all tests of this file."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # on a loaded machine; what is expected is waited for, and no longer
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


class Site:
    """A service that listens, and browsers of people who visit it. Nothing may appear on their consoles."""

    def __init__(self, guard: Rollguard, browser: Any, *, open_: bool = True, prefix: str = "") -> None:
        self.guard, self._browser = guard, browser
        app = create_app(guard, open_to_this_machine=open_, watch=False)
        config = uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1, root_path=prefix)
        self._server = uvicorn.Server(config)
        self._live = app.state.live
        self._thread = threading.Thread(target=self._server.run)
        self.said: list[str] = []
        self._contexts: list[Any] = []
        started, begin = threading.Event(), self._server.startup

        async def startup(sockets: Any = None) -> None:
            await begin(sockets)
            started.set()

        self._server.startup = startup  # type: ignore[method-assign]
        self._thread.start()
        assert started.wait(60)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.proxy = Proxy(prefix, port) if prefix else None
        self.address = self.proxy.address if self.proxy else f"http://127.0.0.1:{port}"

    def visit(self, *, width: int = 1320, scheme: str = "light", script: bool = True) -> Any:
        """A new browser window."""
        context = self._browser.new_context(
            base_url=self.address,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        context.set_default_timeout(60_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        return page

    def close(self) -> None:
        """Close the windows and stop the service."""
        for context in self._contexts:
            context.close()
        self._live.close()
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.proxy:
            self.proxy.close()


@pytest.fixture
def site(sqlite_guard: Rollguard, browser: Any) -> Iterator[Callable[..., Site]]:
    """Makes sites; at the end nothing may have been said on a console."""
    made: list[Site] = []

    def make(*, open_: bool = True) -> Site:
        made.append(Site(sqlite_guard, browser, open_=open_))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert [said for said in one.said if "status of 404" not in said] == []  # a page that is not there


def call(guard: Rollguard, successes: int, failures: int, *, version: int, at: datetime) -> None:
    """Record calls."""
    guard.store.store_tool_executions(
        {
            "tool_name": "my_tool",
            "success": number >= failures,
            "duration_ms": 12.0,
            "error": None if number >= failures else "KeyError: 'total'",
            "executed_at": at + timedelta(milliseconds=number),
            "version_number": version,
        }
        for number in range(successes + failures)
    )


def test_the_story_of_a_regression_appears_live(site: Callable[..., Site]) -> None:
    """Without a reload an open page shows the deployment, its check and its rollback, and keeps the focus."""
    from playwright.sync_api import expect

    here = site()
    guard, now = here.guard, datetime.now(UTC)
    guard.registry.deploy("my_tool", code(1), deployed_at=now - 9 * HOUR)
    call(guard, 100, 0, version=1, at=now - 5 * HOUR)
    overview, tool = here.visit(), here.visit()
    overview.goto("/")
    tool.goto("/tool?name=my_tool")
    expect(overview.locator("#live")).to_be_visible()
    expect(overview.locator("#tool-list")).to_contain_text("v1")
    tool.locator("#figures-table summary").click()
    link = overview.locator("#tool-list a.tool").first
    link.focus()
    loads = overview.evaluate("performance.getEntriesByType('navigation').length + ':' + performance.timeOrigin")

    guard.registry.deploy("my_tool", code(2), deployed_at=now - HOUR)
    session = guard.monitor.start_monitoring("my_tool", now - HOUR)
    expect(overview.locator("#tool-list")).to_contain_text("v2", timeout=REFRESHED)
    expect(overview.locator("#tool-list")).to_contain_text("not checked yet", timeout=REFRESHED)
    call(guard, 6, 14, version=2, at=now - timedelta(minutes=30))
    expect(tool.locator("#charts")).to_contain_text("120 calls", timeout=REFRESHED)
    done = guard.monitor.auto_rollback_if_needed("my_tool", session)
    assert done["rollback_performed"]
    expect(overview.locator("#rollbacks")).to_contain_text("14 of 20 calls failed (70 %)", timeout=REFRESHED)
    expect(overview.locator("#tool-list")).to_contain_text("rolled back", timeout=REFRESHED)
    expect(tool.locator("#title")).to_contain_text("restored by", timeout=REFRESHED)
    expect(tool.locator("#errors")).to_contain_text("KeyError: 'total'", timeout=REFRESHED)
    expect(tool.locator("#figures-table")).to_have_attribute("open", "")
    assert overview.evaluate("document.activeElement.textContent") == "my_tool"
    assert loads == overview.evaluate(
        "performance.getEntriesByType('navigation').length + ':' + performance.timeOrigin"
    )


def test_a_person_logs_in_and_rolls_back(site: Callable[..., Site]) -> None:
    """By keyboard alone: log in, find the tool, roll it back with a reason, see it in the history, and log out."""
    from playwright.sync_api import expect

    here = site(open_=False)
    guard, now = here.guard, datetime.now(UTC)
    guard.registry.deploy("my_tool", code(1), deployed_at=now - 9 * HOUR)
    guard.registry.deploy("my_tool", code(2), deployed_at=now - HOUR)
    _token, secret = guard.store.tokens.create("ann", ["read", "operate"], created_by="me", now=now)
    page = here.visit()
    page.goto("/tool?name=my_tool")
    expect(page.locator("[autofocus]")).to_be_focused()
    page.keyboard.insert_text(secret)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("my_tool")
    assert not page.evaluate("document.cookie")
    page.get_by_role("link", name="Roll back …").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Roll my_tool back?")
    expect(page.locator("[autofocus]")).to_be_focused()
    page.keyboard.insert_text("prices are wrong")
    page.keyboard.press("Enter")
    expect(page.locator("li:target")).to_contain_text("prices are wrong")
    expect(page.locator("li:target")).to_contain_text("by ann")
    live = guard.store.versions.live("my_tool")
    assert live is not None
    assert live.version_number == 1
    page.get_by_role("button", name="Log out").press("Enter")
    expect(page.locator("h1")).to_have_text("Log in")
    page.goto("/")
    expect(page.locator("h1")).to_have_text("Log in")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_everyone_can_read_every_page(site: Callable[..., Site], width: int, scheme: str) -> None:
    """axe finds nothing on any page, narrow or wide, light or dark, and nothing is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    here = site()
    session = story(here.guard)
    assert session == 1
    page, axe = here.visit(width=width, scheme=scheme), Axe()
    for path in (*PAGES, *FORMS, "/login"):
        page.goto(path)
        found = axe.run(page).response["violations"]
        assert [(path, one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate("getComputedStyle(document.body).colorScheme || 'normal'")


def test_everything_works_behind_a_prefix(proposed: System, browser: Any) -> None:
    """Behind a proxy with a prefix a person logs in, approves, rejects, rolls back, sees it live, and logs out."""
    from playwright.sync_api import expect

    guard = proposed.guard
    _token, secret = guard.store.tokens.create("ann", ["read", "operate", "approve"], created_by="me", now=proposed.now)
    here = Site(guard, browser, open_=False, prefix="/guard")
    try:
        page = here.visit()
        page.goto("/guard/proposals/1")
        page.get_by_label("Token").fill(secret)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("h1")).to_contain_text("Proposal 1")
        assert [(one["name"], one["path"]) for one in page.context.cookies()] == [(COOKIE, "/guard")]
        listed = page.context.new_page()
        listed.goto("/guard/proposals")
        expect(listed.locator("#live")).to_be_visible()
        for button, says, state in (("Approve", "Approved", "approved"), ("Reject", "Refused", "refused")):
            page.get_by_label("Why, for the history").fill(f"to {button}")
            page.get_by_role("button", name=button).click()
            expect(page.locator("#events")).to_contain_text(f"{says} by ann: to {button}")
            expect(listed.locator("#others")).to_contain_text(state, timeout=REFRESHED)
        assert proposed.attempt.state == "refused"
        guard.registry.deploy(TOOL, proposed.store.versions.get(TOOL, 1).code + b"# changed\n")
        page.goto(f"/guard/tool?name={TOOL}")
        page.get_by_role("link", name="Roll back …").click()
        page.get_by_label("Why, for the history").fill("it was right")
        page.get_by_role("button", name="Roll back").click()
        expect(page.locator("li:target")).to_contain_text("it was right")
        _follow_all(page, "/guard/")
        page.get_by_role("button", name="Log out").click()
        expect(page.locator("h1")).to_have_text("Log in")
        assert page.context.cookies() == []
        assert here.proxy
        assert here.proxy.outside == []
        assert here.said == []
    finally:
        here.close()


def _follow_all(page: Any, start: str) -> None:
    """Read every address that the pages lead to, from one on; each has the prefix, and answers."""
    known, left = {start}, [start]
    while left:
        answer = page.request.get(left.pop())
        assert answer.status == 200, answer.url
        if answer.headers["content-type"].startswith("text/html"):
            found = re.findall(r' (href|src|action|data-events)="(/[^"#]*)', answer.text())
            assert [each for _name, each in found if not each.startswith(start)] == []
            new = {html.unescape(each) for name, each in found if name in ("href", "src")} - known
            known |= new
            left += new
    assert len(known) > 20


def test_without_scripts(site: Callable[..., Site]) -> None:
    """Where scripts are off, each page shows the same, and a rollback works."""
    from playwright.sync_api import expect

    here = site()
    story(here.guard)
    page = here.visit(script=False)
    for path in PAGES:
        page.goto(path)
        expect(page.locator("h1")).to_have_count(1)
    page.goto("/tool?name=my_tool")
    page.get_by_role("link", name="Roll back …").click()
    page.get_by_label("Why, for the history").fill("by hand")
    page.get_by_role("button", name="Roll back").click()
    expect(page.locator("li:target")).to_contain_text("by hand")


def test_texts_from_outside_do_nothing(site: Callable[..., Site]) -> None:
    """Markup in a name, a reason, an error or parameters is shown as text, and no script of it runs."""
    here = site()
    story(here.guard)
    here.guard.store.store_tool_execution(
        tool_name="<img src=x onerror=alert(1)>", success=False, error=f"<svg onload=alert(1)>{EVIL}", parameters={}
    )
    page = here.visit()
    shown: list[str] = []
    page.on("dialog", lambda dialog: (shown.append(dialog.message), dialog.dismiss()))
    for path in (*PAGES, "/tool?name=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"):
        page.goto(path)
        page.wait_for_load_state("load")
    assert shown == []
    assert page.locator("h1").inner_text() == "<img src=x onerror=alert(1)>"


def test_the_demo_has_something_on_each_page(tmp_path: Path, browser: Any) -> None:
    """The demo has tools in every state, a rollout, and a proposal that a click approves; everyone can read it."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    from examples.demo.service import open_with_history
    from examples.demo.workspace import make_workspace

    with open_with_history(make_workspace(tmp_path / "demo")) as guard:
        here = Site(guard, browser)
        try:
            page, axe = here.visit(), Axe()
            states = set()
            numbers = {one.tool_name: one.session_id for one in guard.store.sessions.active()}
            more = (f"/sessions/{numbers['order_status']}", "/rollout?name=order_status&action=abort")
            tools = ("/tool?name=geo_lookup", "/tool?name=currency_rates&range=7d")
            for path in ("/", "/rollbacks", "/sessions", "/proposals", "/proposals/1", *tools, *more):
                page.goto(path)
                assert axe.run(page).response["violations"] == []
                states |= set(page.locator(".state").all_inner_texts())
            assert {"regressed", "healthy", "rolled back", "observed only", "finished", "recorded only"} <= states
            assert {"ramping", "waiting for you", "fixed"} <= states
            page.goto("/proposals/1")
            page.get_by_label("Why, for the history").fill("it is right")
            page.get_by_role("button", name="Approve").click()
            expect(page.locator("#events")).to_contain_text("Approved by local: it is right")
            assert guard.store.attempts.get(1).state == "approved"
            assert here.said == []
        finally:
            here.close()
