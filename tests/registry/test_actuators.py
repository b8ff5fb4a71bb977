"""The actuators themselves: real programs, and a real server."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rollguard import Rollguard, Settings
from rollguard.errors import ActuatorFailed, InvalidInput, InvalidSetting
from rollguard.model.version import Version
from rollguard.registry.deploy.actuators import CommandActuator, Request, WebhookActuator, carry_out, signature_of
from rollguard.store import digest
from tests.cli.conftest import Shell, empty, shell  # noqa: F401 - fixtures
from tests.conftest import NOW

CODE = b"def my_tool(): ...\n"
VERSION = Version("my_tool", 3, CODE, digest(CODE), "improvement", "ada", None, 2, NOW)
REQUEST = Request(VERSION, "rollback", "my_tool:rollback:7", 12)


def python(program: str, *words: str, timeout: float = 300.0) -> CommandActuator:
    return CommandActuator([sys.executable, "-c", program, *words], timeout=timeout)


def test_a_command_gets_the_order() -> None:
    """A command finds the request's values in its arguments, and the code in a file and on stdin."""
    program = (
        "import sys, pathlib; print(sys.argv[1:-1]); "
        "print(pathlib.Path(sys.argv[-1]).read_bytes() == sys.stdin.buffer.read()); "
        "print(pathlib.Path(sys.argv[-1]).read_text())"
    )
    said = python(program, "--{tool}={version}", "{action}", "{key}", "{sequence}", "{sha256}", "{file}").put(REQUEST)
    assert said is not None
    values = ["--my_tool=3", "rollback", "my_tool:rollback:7", "12", digest(CODE)]
    assert said == f"{values}\nTrue\n{CODE.decode()}\n"


def test_code_and_label_may_be_arguments() -> None:
    """A release is named by its label, and code that is one word is an argument, in which nothing is replaced."""
    image = Version("agent", 1, b"example.com/agent:{tool}\n", "0", "initial", "ada", None, None, NOW)
    said = python("import sys; print(sys.argv[1:])", "--image={code}", "{label}").put(
        Request(image, "deploy", "k", 1, "v1.4.2")
    )
    assert said == "['--image=example.com/agent:{tool}', 'v1.4.2']\n"


def test_there_is_no_shell() -> None:
    """What would mean something to a shell is an argument like any other."""
    assert python("import sys; print(sys.argv[1])", "$(id); echo *").put(REQUEST) == "$(id); echo *\n"


def test_an_exit_code_other_than_0_does_not_acknowledge() -> None:
    """A command that fails says so with its exit code and the last line that it printed; all of it is kept."""
    with pytest.raises(ActuatorFailed, match=r"exit code 3: no such cluster$") as raised:
        carry_out(python("import sys; print('begins'); sys.exit(print('no such cluster') or 3)"), REQUEST)
    assert raised.value.output == "begins\nno such cluster\n"


class Clock:
    """A clock by which no time goes by until it was asked once and a file is there, and then much."""

    def __init__(self, file: Path) -> None:
        self._file, self._asked = file, False

    def monotonic(self) -> float:
        first, self._asked = not self._asked, True
        return 0.0 if first or not self._file.exists() else 1_000.0


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over the program and its children are killed, and nothing is acknowledged."""
    lock, both = tmp_path / "lock", tmp_path / "both"
    monkeypatch.setattr("rollguard.sandbox.command.time", Clock(both))
    program = (
        "import fcntl, subprocess, sys, time\n"
        f"held = open({str(lock)!r}, 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], pass_fds=[held.fileno()])\n"
        "print('both run', flush=True)\n"
        f"open({str(both)!r}, 'w').close()\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(ActuatorFailed, match=r"took longer than 3 s") as raised:
        python(program, timeout=3.0).put(REQUEST)
    assert raised.value.output == "both run\n"
    with lock.open("w") as free:  # as soon as nobody holds it any more
        fcntl.flock(free, fcntl.LOCK_EX)


def test_a_command_that_is_not_there() -> None:
    """A program that cannot be started is named."""
    with pytest.raises(ActuatorFailed, match="/no/such/program cannot be started"):
        CommandActuator(["/no/such/program"]).put(REQUEST)
    for nothing in ([], "deploy.sh", [5]):
        with pytest.raises(InvalidInput, match="not a list of a program"):
            CommandActuator(nothing)  # type: ignore[arg-type]


def test_only_the_end_of_much_output_is_kept() -> None:
    """A command may print without end; the journal keeps the end of it."""
    said = carry_out(python("print('x' * 10_000_000); print('the end')"), REQUEST)
    assert said is not None
    assert len(said) == 4_000
    assert said.endswith("the end\n")


def test_a_command_that_prints_without_end_is_ended() -> None:
    """A program that runs wild is killed long before it fills the disk, and the end of its output is kept."""
    with pytest.raises(ActuatorFailed, match="printed more than 64 MiB") as raised:
        carry_out(python("while True: print('x' * 65_535)", timeout=600.0), REQUEST)
    assert raised.value.output is not None
    assert set(raised.value.output) <= {"x", "\n"}


class Broken:
    """An actuator of somebody's own that raises what it likes."""

    kind, patience = "command", 1.0

    def put(self, request: Request) -> str | None:
        """Fail."""
        raise KeyError("what?")


def test_whatever_an_actuator_raises_is_a_failure() -> None:
    """An actuator may be anybody's code: what it raises is recorded like any other failure."""
    with pytest.raises(ActuatorFailed, match="command: KeyError: 'what\\?'"):
        carry_out(Broken(), REQUEST)


# --- the webhook ----------------------------------------------------------------------------------------------------


class Receiver:
    """A server that answers with the given statuses in turn, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.endless = False
        left = list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                status = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                try:
                    self.wfile.write(f"answer {len(receiver.got)}".encode())
                    while receiver.endless:
                        self.wfile.write(b"x" * 65_536)
                except OSError:
                    return

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/restore"

    def close(self) -> None:
        self.endless = False
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receivers() -> Iterator[Any]:
    running: list[Receiver] = []

    def start(*statuses: int) -> Receiver:
        running.append(Receiver(*statuses))
        return running[-1]

    yield start
    for receiver in running:
        receiver.close()


def webhook(receiver: Receiver) -> WebhookActuator:
    return WebhookActuator(receiver.url, "s3cret", timeout=60.0, pauses=(0.0, 0.0))


def hmac_of(key: bytes, message: bytes) -> str:
    """HMAC-SHA-256 as RFC 2104 writes it down, of a key no longer than a block: H(K ^ opad, H(K ^ ipad, text))."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()


def test_a_webhook_is_signed(receivers: Any) -> None:
    """The request's signature is the HMAC-SHA-256 of its timestamp and its body, and its body is the whole request."""
    receiver = receivers(204)
    before = datetime.now(UTC).timestamp()
    webhook(receiver).put(REQUEST)
    ((headers, body),) = receiver.got
    timestamp = headers["Rollguard-Timestamp"]
    assert int(before) <= int(timestamp) <= datetime.now(UTC).timestamp()
    expected = hmac_of(b"s3cret", timestamp.encode() + b"." + body)
    assert headers["Rollguard-Signature"] == f"sha256={expected}" == signature_of(b"s3cret", timestamp, body)
    assert headers["Idempotency-Key"] == "my_tool:rollback:7"
    request = json.loads(body)
    assert base64.b64decode(request.pop("code")) == CODE
    assert request == {
        "action": "rollback",
        "tool_name": "my_tool",
        "version_number": 3,
        "sha256": digest(CODE),
        "key": "my_tool:rollback:7",
        "sequence": 12,
        "label": "",
        "tools": ["my_tool"],
    }


def test_a_webhook_is_repeated_with_the_same_key(receivers: Any) -> None:
    """What is not acknowledged is sent again, with the same key and the same body."""
    receiver = receivers(503, 500, 200)
    assert webhook(receiver).put(REQUEST) == "answer 3"
    assert len(receiver.got) == 3
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1


@pytest.mark.parametrize("status", [301, 404, 500])
def test_only_2xx_acknowledges(receivers: Any, status: int) -> None:
    """Any other answer, a redirection too, is a failure, and its text is kept."""
    with pytest.raises(ActuatorFailed, match=f"the webhook answered {status}") as raised:
        webhook(receivers(status)).put(REQUEST)
    assert raised.value.output == "answer 3"


def test_an_answer_without_end_is_not_read_to_its_end(receivers: Any) -> None:
    """An acknowledgement counts though its text never ends."""
    receiver = receivers(200)
    receiver.endless = True
    said = webhook(receiver).put(REQUEST)
    assert said is not None
    assert said.startswith("answer 1")


def test_nobody_answers() -> None:
    """Where nobody answers, that is said, without the URL, which may hold a secret."""
    actuator = WebhookActuator("http://127.0.0.1:1/?key=hidden", "s", timeout=1.0, pauses=())
    with pytest.raises(ActuatorFailed, match="did not answer") as raised:
        actuator.put(REQUEST)
    assert "hidden" not in str(raised.value)
    for url, secret in (("ftp://x", "s"), ("http://x", "")):
        with pytest.raises(InvalidInput, match="webhook"):
            WebhookActuator(url, secret)


# --- settings -------------------------------------------------------------------------------------------------------


def load(folder: Path, toml: str, **environ: str) -> Settings:
    (folder / "rollguard.toml").write_text(toml)
    return Settings.load(folder / "rollguard.toml", environ)


def test_a_command_from_the_settings_deploys_and_rolls_back(tmp_path: Path) -> None:
    """With `[tools.NAME.actuator]` a tool's deployments and rollbacks both go through its command."""
    place = tmp_path / "place"
    program = f"import sys; open({str(place)!r}, 'w').write(sys.argv[1] + sys.stdin.read())"
    command = json.dumps([sys.executable, "-c", program, "{action}: "])
    toml = f'[tools.my_tool.actuator]\nkind = "command"\ncommand = {command}\n'
    with Rollguard(load(tmp_path, toml)) as guard:
        for number in (1, 2):
            guard.deploy("my_tool", f"image:{number}")
        assert place.read_text() == "deploy: image:2"
        guard.monitor.roll_back("my_tool", reason="by hand")
        assert place.read_text() == "rollback: image:1"


def test_the_command_line_with_a_tool_that_lives_elsewhere(shell: Shell) -> None:  # noqa: F811 - the fixture
    """`deploy`, `deploy --already-live` and `tools` know of tools that a command puts in their place."""
    place = shell.folder / "place"
    program = f"import sys; open({str(place)!r}, 'w').write(sys.stdin.read())"
    command = json.dumps([sys.executable, "-c", program])
    shell.write("rollguard.toml", f'[tools.remote.actuator]\nkind = "command"\ncommand = {command}\n')
    remote = ("deploy", "-", "--tool", "remote", "--json")
    assert shell.ok(*remote, stdin="image:1").json["version_number"] == 1
    assert place.read_text() == "image:1"
    noted = shell.ok(*remote, "--already-live", stdin="image:2").json
    assert (noted["version_number"], noted["changed"], place.read_text()) == (2, True, "image:1")
    assert noted["session_id"] is not None
    shell.ok("rollback", "remote", "--reason", "worse", "--quarantine")
    refused = shell.run(*remote, stdin="image:2")
    assert (refused.exit_code, "is in quarantine" in refused.err) == (1, True)
    assert [held["version_number"] for held in shell.ok("quarantine", "--json").json] == [2]
    assert shell.ok(*remote, "--force", stdin="image:2").json["version_number"] == 2
    assert place.read_text() == "image:2"
    (tool,) = (tool for tool in shell.ok("tools", "--json").json if tool["name"] == "remote")
    assert (tool["problem"], tool["live_version"]) == (None, 2)
    shell.write("put.sh", "exit 1")
    shell.write("rollguard.toml", '[tools.remote.actuator]\nkind = "command"\ncommand = ["sh", "put.sh"]\n')
    refused = shell.run(*remote, stdin="image:3")
    assert (refused.exit_code, "sh ended with exit code 1" in refused.err) == (1, True)


def test_a_secret_comes_from_the_environment(tmp_path: Path) -> None:
    """`secret_env` names the variable that holds the secret; it shows up nowhere."""
    toml = '[tools.pay.actuator]\nkind = "webhook"\nurl = "https://example.com/x"\nsecret_env = "PAY_SECRET"\n'
    settings = load(tmp_path, toml, PAY_SECRET="hidden")
    assert settings.actuators["pay"].secret.get_secret_value() == "hidden"
    assert "hidden" not in repr(settings)
    assert settings.tools == {"pay": {}}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ('kind = "ssh"', r"tools\.pay\.actuator\.kind: 'ssh'"),
        ('kind = "command"', r"tools\.pay\.actuator\.command: missing; give a list"),
        ('kind = "command"\ncommand = "x.sh"', r"tools\.pay\.actuator\.command: .* is not a list"),
        ('kind = "command"\ncommand = ["x"]\nurl = "https://x"', r"actuator\.url: has no meaning where kind is"),
        ('command = ["x"]', r'actuator\.command: has no meaning where kind is "folder"'),
        ('kind = "webhook"\nurl = "x"\nsecret = "s"', r"actuator\.url: is no URL with a host"),
        ('kind = "webhook"\nurl = "https://x"', r"actuator\.secret: missing; give a secret"),
        ('kind = "webhook"\nurl = "https://x"\nsecret_env = "NOT"', r"the variable NOT is not set"),
        ("timeout_seconds = 0", r"actuator\.timeout_seconds: 0"),
    ],
)
def test_bad_actuators_are_refused_by_key(tmp_path: Path, table: str, complaint: str) -> None:
    """An actuator that cannot be meant is refused with its key and what is allowed."""
    with pytest.raises(InvalidSetting, match=complaint):
        load(tmp_path, f"[tools.pay.actuator]\n{table}\n")
