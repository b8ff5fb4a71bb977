"""The tutorial and the how-tos work as they are printed: each runs from top to bottom in an empty folder.

A block with a title is a file to write; a block of `sh` is run line by line. What would leave the machine is replaced:
the model, the database's address, Slack's.
"""

from __future__ import annotations

import configparser
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
PROCESS = DOCS / "how-to"
MODELS = {  # page: the line that names a model, and what stands for it without a network
    "langgraph": ('MODEL = "openai:gpt-5.2"', "for_langchain"),
    "pydantic-ai": ('MODEL = "openai:gpt-5.2"', "for_pydantic_ai"),
    "openai-agents": ('MODEL = "gpt-5.2"', "for_openai_agents"),
}
ENDLESS = {"rollguard serve": "listening on"}
NOT_RUN = ("pip install ",)  # done before these tests run
IN_CONTAINER = "docker compose run --rm rollguard "  # here, in the folder that the image is made of


class Reader:
    """Somebody who does what a page says, in an empty folder."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder, self.printed = folder, ""
        binaries = Path(sys.executable).parent
        self._environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("ROLLGUARD_", "PYTEST"))
        }
        self._environ |= {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), **environ}

    def follow(self, page: str, change: Callable[[str], str] = lambda text: text) -> str:
        """Do each step of a page, and return what was printed."""
        blocks = BLOCK.findall((DOCS / page).read_text("utf-8"))
        assert blocks
        for language, title, text in blocks:
            if title:
                file = self.folder / title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(change(text), "utf-8")
            elif language == "sh":
                for line in text.splitlines():
                    self._run(line)
        return self.printed

    def _run(self, line: str) -> None:
        command = line.partition("  #")[0].strip().removeprefix(IN_CONTAINER)
        if command.startswith(NOT_RUN) or not command:
            return
        if command in ENDLESS:
            self._until_it_says(command, ENDLESS[command])
            return
        ran = subprocess.run(
            command, shell=True, cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=240
        )
        self.printed += ran.stdout + ran.stderr
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"

    def _until_it_says(self, command: str, says: str) -> None:
        process = self.start(*shlex.split(command))
        assert process.stderr is not None
        for line in process.stderr:
            if says in line:
                break
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that does not end by itself."""
        return subprocess.Popen(
            words, cwd=self.folder, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Somebody with an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return Reader(folder, ROLLGUARD_SERVICE__PORT="0")


@pytest.mark.long
def test_the_tutorial(reader: Reader) -> None:
    """Its bad version is rolled back, and what it says of the numbers is what is printed."""
    printed = reader.follow("tutorial.md")
    assert "12.3" in printed
    assert "60 of 60 worked" in printed
    assert "40 of 60 worked" in printed
    assert "20 of 60 calls failed (33.33 %) since the deployment, 0 of 60 calls failed (0 %) before" in printed
    assert '"NO"' in printed or "'NO'" in printed
    assert '"NO": 9.90' in (reader.folder / "tools" / "parcel_price.py").read_text()


@pytest.mark.agents
@pytest.mark.parametrize("page", MODELS)
def test_agent_frameworks(reader: Reader, page: str) -> None:
    """The agent calls the live version, and its call is recorded; only the model is another one."""
    line, offline = MODELS[page]
    shutil.copy(ROOT / "examples" / "agents" / "offline_models.py", reader.folder)

    def without_network(text: str) -> str:
        assert "MODEL" not in text or line in text
        return text.replace(line, f"from offline_models import {offline}\n\nMODEL = {offline}()")

    printed = reader.follow(f"how-to/{page}.md", without_network)
    assert "The tool said: 12.3" in printed
    assert "success" in printed


@pytest.mark.agents
def test_an_mcp_server(reader: Reader) -> None:
    """The client's call reaches the live version, and is recorded."""
    printed = reader.follow("how-to/mcp-server.md")
    assert "12.3" in printed
    assert "success" in printed


@pytest.mark.long
def test_ci(reader: Reader) -> None:
    """The revision becomes one release, once, and the workflow runs the same script."""
    printed = reader.follow("how-to/ci.md")
    assert "live" in printed
    releases = subprocess.run(
        [sys.executable, "-m", "rollguard", "releases", "--json"],
        cwd=reader.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(releases.stdout)) == 1
    assert "run: sh deploy.sh" in (reader.folder / ".github/workflows/tools.yml").read_text()


@pytest.mark.long
def test_docker_and_systemd(reader: Reader) -> None:
    """The commands of the image and of the unit start the service, once there is a token."""
    reader.follow("how-to/docker-systemd.md")
    image = (reader.folder / "Dockerfile").read_text()
    command = json.loads(image.rpartition("\nCMD ")[2])
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(reader.folder / "rollguard.service")
    started = unit["Service"]["ExecStart"].split()
    assert started[0] == "/srv/rollguard/.venv/bin/rollguard"
    for words in (command, [Path(started[0]).name, *started[1:]]):
        reader._until_it_says(shlex.join(words), "listening on")


@pytest.mark.long
def test_postgresql(tmp_path: Path, postgres: Any) -> None:
    """The commands work on a database of PostgreSQL that is empty at first."""
    folder = tmp_path / "empty"
    folder.mkdir()
    url = postgres.new_database(migrated=False)
    reader = Reader(folder)
    text = tomllib.loads
    reader.follow(
        "how-to/postgresql.md",
        lambda given: given.replace("postgresql://rollguard@db.example.com/rollguard", text(f'u = "{url}"')["u"]),
    )
    assert "postgresql" in reader.printed.lower()


@pytest.fixture
def slack() -> Iterator[tuple[str, list[str]]]:
    """What stands for Slack: an address, and the texts that were posted there."""
    texts: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", texts
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.long
def test_slack(tmp_path: Path, slack: tuple[str, list[str]]) -> None:
    """The rollback of the page is posted, with its reason."""
    folder = tmp_path / "empty"
    folder.mkdir()
    reader = Reader(folder, SLACK_WEBHOOK_URL=slack[0], PAGES_URL="https://guard.example.com")
    reader.follow("how-to/slack.md")
    (text,) = slack[1]
    assert "hello: rolled back from version 2 to 1" in text
    assert "a try of the alerts" in text


@pytest.mark.long
def test_a_coding_agent(reader: Reader) -> None:
    """The improver of the page gets the brief, and its repair is rehearsed."""
    printed = reader.follow("how-to/coding-agent.md")
    assert 'replace(",", "")' in (reader.folder / "candidate.py").read_text()
    assert (reader.folder / "work" / "brief.md").exists()
    assert "comma" in printed or "," in printed


def test_every_how_to_is_followed() -> None:
    """No page is in the folder that no test follows, and the index leads to each."""
    pages = {page.stem for page in PROCESS.glob("*.md")} - {"index"}
    followed = set(MODELS) | {"mcp-server", "ci", "docker-systemd", "postgresql", "slack", "coding-agent"}
    assert pages == followed
    index = (PROCESS / "index.md").read_text()
    assert all(f"({page}.md)" in index for page in pages)
