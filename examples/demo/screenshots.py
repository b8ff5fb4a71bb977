"""Make the pictures of the pages that the documentation shows: `make screenshots`. It needs Debian's Chromium."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from examples.demo.service import open_with_history
from examples.demo.workspace import make_workspace
from rollguard.service.app import create_app

CHROMIUM = Path("/usr/bin/chromium")
FOLDER = Path(__file__).parents[2] / "docs" / "images" / "pages"
_PORT = 8786
PICTURES = {  # name: (address, width, scheme)
    "overview": ("/", 1320, "light"),
    "overview-dark": ("/", 1320, "dark"),
    "overview-narrow": ("/", 390, "light"),
    "tool": ("/tool?name=geo_lookup", 1320, "light"),
    "session": ("/sessions/{geo_lookup}", 1320, "light"),
    "rollout": ("/sessions/{order_status}", 1320, "light"),
    "proposal": ("/proposals/1", 1320, "light"),
    "proposals": ("/proposals", 1320, "dark"),
    "rollbacks": ("/rollbacks", 1320, "light"),
    "diff": ("/diff?name=currency_rates&to=2", 1320, "dark"),
    "confirm": ("/rollback?name=geo_lookup", 1320, "light"),
}


def main() -> int:
    """Write each picture."""
    if not CHROMIUM.exists():
        print(f"There is no {CHROMIUM}; install it: make system", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory(prefix="rollguard-demo-") as folder,
        open_with_history(make_workspace(Path(folder) / "demo")) as guard,
    ):
        app = create_app(guard, open_to_this_machine=True, watch=True)
        server = uvicorn.Server(uvicorn.Config(app, port=_PORT, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            numbers = {one.tool_name: one.session_id for one in guard.store.sessions.active()}
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
                for name, (address, width, scheme) in PICTURES.items():
                    _take(browser, name, address.format(**numbers), width, scheme)
        finally:
            app.state.live.close()
            server.should_exit = True
            thread.join()
    return 0


def _take(browser: Browser, name: str, address: str, width: int, scheme: str) -> None:
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 820}).new_page()  # type: ignore[arg-type]
    page.goto(f"http://127.0.0.1:{_PORT}{address}")
    if page.locator("[data-live]").count():  # a form does not change while it is filled in
        page.locator("#live").wait_for(state="visible")
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
    page.context.close()
    print(FOLDER / f"{name}.png")


if __name__ == "__main__":
    sys.exit(main())
