"""Messages for people, through a real SMTP server, a real webhook receiver and Apprise."""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from rollguard import ExecutionStore, Rollguard
from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.model.event import Event, EventKind, Level
from rollguard.notify import AppriseNotifier, CloudEventsNotifier, Dispatcher, NotDelivered, WebhookNotifier
from rollguard.notify.message import message_of
from rollguard.settings import Settings
from tests.conftest import NOW, Guard

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # which Apprise imports

BASE = "https://rollguard.example"
WHY = "9 of 30 calls failed (30 %) since the deployment, 1 of 100 calls failed (1 %) before"


def rolled_back(number: int = 1, **changes: Any) -> Event:
    """A rollback of one of many tools."""
    name = f"tool_{number}"
    values: dict[str, Any] = {
        "kind": EventKind.ROLLED_BACK,
        "level": Level.CRITICAL,
        "tool_name": name,
        "session_id": number,
        "title": f"{name}: rolled back from version 3 to 2",
        "reasons": (WHY, "drop 29 points ≥ 15 (critical)"),
        "occurred_at": NOW.isoformat(),
        "details": {"from_version": 3, "to_version": 2},
        "event_id": f"event-{number}",
    }
    return Event(**values | changes)


class AnyPort(Controller):
    """A controller that takes a free port."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


class Mailbox:
    """A real SMTP server that keeps what it gets; it refuses mail while `refuses` is set."""

    def __init__(self) -> None:
        self.mails: list[email.message.Message] = []
        self.refuses = False
        self._controller = AnyPort(self, hostname="127.0.0.1", port=0)
        self._controller.start()
        self.url = f"mailto://127.0.0.1:{self._controller.port}?from=rollguard@example.org&to=me@example.org&mode=insecure&format=text"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a mail, or refuse it."""
        if self.refuses:
            return "451 try again later"
        self.mails.append(email.message_from_bytes(envelope.content or b""))
        return "250 OK"

    def texts(self) -> list[tuple[str, str]]:
        """The subject and the text of each mail."""
        return [(_subject(mail), _text(mail)) for mail in self.mails]

    def stop(self) -> None:
        """Stop listening."""
        self._controller.stop()


def _subject(mail: email.message.Message) -> str:
    return "".join(
        part.decode(code or "ascii") if isinstance(part, bytes) else part
        for part, code in email.header.decode_header(mail["subject"])
    )


def _text(mail: email.message.Message) -> str:
    part = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]


class Hook:
    """A real receiver of webhooks, which answers `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, str], bytes]] = []
        hook = self

        class Keeping(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Keeping)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server."""
    monkeypatch.setattr("socket.getfqdn", lambda _name="": "localhost")  # without a name server that takes seconds
    opened = Mailbox()
    yield opened
    opened.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A receiver of webhooks."""
    opened = Hook()
    yield opened
    opened.stop()


# --- the message -----------------------------------------------------------------------------------------------------


def test_a_message_says_what_why_what_was_done_and_where() -> None:
    """One event: its title, the reasons with numbers, what was done, and a link; without an address a command."""
    message = message_of([rolled_back(12)], BASE)
    assert (message.title, message.level) == ("tool_12: rolled back from version 3 to 2", Level.CRITICAL)
    assert message.body.splitlines() == [
        f"Why: {WHY}",
        "  drop 29 points ≥ 15 (critical)",
        "Done: version 2 is live again; nothing more is needed now",
        "See: https://rollguard.example/sessions/12",
    ]
    assert message_of([rolled_back(12)]).body.splitlines()[-1] == "See: rollguard explain 12"


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_a_message(kind: EventKind) -> None:
    """Each kind of event has a message with a link, whatever its details hold; hostile text stays on its line."""
    event = rolled_back(kind=kind, session_id=None, details={}, title="t\x1b[31m\nx", tool_name="a/b")
    message = message_of([event], f"{BASE}/prefix/")
    assert message.body.splitlines()[-1] == f"See: {BASE}/prefix/tool?name=a%2Fb"
    assert message.title == r"t\x1b[31m\nx"
    assert message_of([rolled_back(tool_name="", session_id=None, kind=kind)]).body.endswith("See: rollguard status")


def test_many_events_are_one_message() -> None:
    """Fifty tools at once: all are named with their reason and link; the same event twice is in it once."""
    events = [rolled_back(number) for number in range(50)]
    failed = rolled_back(50, kind=EventKind.ROLLBACK_FAILED, title="tool_50: could not be rolled back")
    message = message_of([*events, *events[:3], failed], BASE)
    assert message.title == "51 tools at once: 50 rolled back, 1 rollback failed"
    assert message.body.count(WHY) == 51
    assert all(f"/sessions/{number}" in message.body for number in range(51))
    assert message.body.endswith(f"See: {BASE}/")
    assert "… and 20 more" in message_of([rolled_back(number) for number in range(120)], BASE).body


# --- mail ------------------------------------------------------------------------------------------------------------


def test_fifty_tools_that_fail_at_once_are_one_mail(store: ExecutionStore, mailbox: Mailbox) -> None:
    """All that is due is one mail. What follows within a minute is one more, when the minute is over."""
    dispatcher = Dispatcher(store, [AppriseNotifier(mailbox.url, base_url=BASE)])
    for number in range(50):
        store.outbox.add(rolled_back(number).to_dict(), NOW)
    assert dispatcher.deliver(NOW) == 50
    ((subject, text),) = mailbox.texts()
    assert subject == "50 tools at once: 50 rolled back"
    assert all(f"tool_{number}: rolled back from version 3 to 2 ({WHY})" in text for number in range(50))
    for number in (50, 51):
        at = NOW + timedelta(seconds=number - 40)
        store.outbox.add(rolled_back(number).to_dict(), at)
        assert dispatcher.deliver(at) == 0
    assert dispatcher.deliver(NOW + timedelta(seconds=59)) == 0
    assert dispatcher.deliver(NOW + timedelta(seconds=60)) == 2
    assert [subject for subject, _text in mailbox.texts()][1:] == ["2 tools at once: 2 rolled back"]
    assert store.outbox.failing() == (0, None)


def test_a_mail_that_is_refused_is_sent_again(store: ExecutionStore, mailbox: Mailbox) -> None:
    """While the server refuses, nothing is lost, other channels are not repeated, and no secret is in the error."""
    told: list[Event] = []

    class Log:
        name = "log"

        def notify(self, event: Event) -> None:
            told.append(event)

    dispatcher = Dispatcher(store, [Log(), AppriseNotifier(f"{mailbox.url}&reply=s3cret@example.org")])
    store.outbox.add(rolled_back().to_dict(), NOW)
    mailbox.refuses = True
    assert dispatcher.deliver(NOW) == 0
    number, error = store.outbox.failing()
    assert (number, len(told)) == (1, 1)
    assert "apprise mailto" in str(error)
    assert "did not take the message" in str(error)
    assert "s3cret" not in str(error)
    mailbox.refuses = False
    assert dispatcher.deliver(NOW + timedelta(seconds=10)) == 1
    assert [subject for subject, _text in mailbox.texts()] == ["tool_1: rolled back from version 3 to 2"]
    assert len(told) == 1


def test_events_that_cannot_be_read_do_not_stop_the_others(store: ExecutionStore, mailbox: Mailbox) -> None:
    """What another program wrote into the outbox stays there with its error."""
    store.outbox.add({"kind": "nonsense"}, NOW)
    store.outbox.add(rolled_back().to_dict(), NOW)
    assert Dispatcher(store, [AppriseNotifier(mailbox.url)]).deliver(NOW) == 1
    assert len(mailbox.mails) == 1
    assert "correct or delete its row" in str(store.outbox.failing()[1])


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_cloudevents(hook: Hook) -> None:
    """A CloudEvent 1.0 in structured mode, which its own library reads: id, type, source, subject, time and data."""
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event

    event = rolled_back()
    CloudEventsNotifier(hook.url, base_url=BASE, secret="key").notify(event)
    ((headers, body),) = hook.got
    read = from_http_event(HTTPMessage(headers, body))
    assert (read.get_id(), read.get_type(), read.get_source()) == ("event-1", "io.rollguard.rolled_back", BASE)
    assert (read.get_subject(), read.get_time()) == ("tool_1", NOW)
    data = read.get_data()
    assert isinstance(data, dict)
    assert data["title"] == event.title
    assert data["message"] == message_of([event], BASE).body
    assert headers["content-type"] == "application/cloudevents+json"
    _check_signature(headers, body)


def test_a_signed_webhook(hook: Hook) -> None:
    """With a secret the receiver can tell who sent an event, and when; what is not 2xx is delivered again."""
    notifier = WebhookNotifier(hook.url, secret="key")
    notifier.notify(rolled_back())
    ((headers, body),) = hook.got
    assert json.loads(body)["event_id"] == "event-1"
    _check_signature(headers, body)
    hook.status = 500
    with pytest.raises(NotDelivered, match="answered 500"):
        notifier.notify(rolled_back())
    WebhookNotifier(hook.url, secret="").encoded(rolled_back())


def _check_signature(headers: dict[str, str], body: bytes) -> None:
    signed = headers["rollguard-timestamp"].encode() + b"." + body
    assert headers["rollguard-signature"] == "sha256=" + hmac.new(b"key", signed, hashlib.sha256).hexdigest()


def test_machines_get_each_event_alone(store: ExecutionStore, hook: Hook) -> None:
    """Channels that do not group get every event by itself, each with its id, in the order of the outbox."""
    for number in range(3):
        store.outbox.add(rolled_back(number).to_dict(), NOW)
    channels = [CloudEventsNotifier(hook.url), WebhookNotifier(hook.url)]
    assert Dispatcher(store, channels).deliver(NOW) == 3
    ids = [json.loads(body).get("id") or json.loads(body).get("event_id") for _headers, body in hook.got]
    assert ids == [f"event-{number}" for number in (0, 0, 1, 1, 2, 2)]


# --- settings, and the whole way -------------------------------------------------------------------------------------


def test_settings(tmp_path: Path, hook: Hook, mailbox: Mailbox) -> None:
    """`[notify]` names the channels; an URL that Apprise cannot read, and one that is no address, are refused."""
    file = tmp_path / "rollguard.toml"
    file.write_text(
        f'[notify]\ncloudevents_urls = ["{hook.url}"]\napprise_urls = ["{mailbox.url}"]\nbase_url = "{BASE}"\n'
        'webhook_secret = "key"\n'
    )
    environ = {"ROLLGUARD_DATABASE": f"sqlite:///{tmp_path}/r.db", "ROLLGUARD_TOOLS_DIR": str(tmp_path)}
    with Rollguard.from_settings(file, environ) as guard:
        guard.store.outbox.add(rolled_back().to_dict(), NOW)
        assert guard.monitor.dispatcher.deliver(NOW) == 1
    assert (len(hook.got), len(mailbox.mails)) == (1, 1)
    assert mailbox.texts()[0][1].rstrip().endswith(f"See: {BASE}/sessions/1")
    for line, says in (
        ('apprise_urls = ["nonsense"]', "is no URL of Apprise"),
        ('base_url = "rollguard"', "is no URL with a host"),
        ('cloudevents_urls = ["x"]', "does not begin with http"),
    ):
        file.write_text(f"[notify]\n{line}\n")
        with pytest.raises(InvalidSetting, match=says):
            Settings.load(file, environ)
    file.write_text('[notify]\napprise_urls = ["nonsense://s3cret"]\n')
    with (
        pytest.raises(InvalidSetting, match="cannot read the URL of nonsense") as refused,
        Rollguard.from_settings(file, environ) as guard,
    ):
        _ = guard.monitor
    assert "s3cret" not in str(refused.value)


def test_apprise_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(InvalidInput, match=r'pip install "rollguard\[alerts\]"'):
        AppriseNotifier("mailto://localhost")


def test_a_real_regression_reaches_people(guard: Guard, mailbox: Mailbox) -> None:
    """A bad deployment: the mail says which version is live again, why with numbers, and where to see it."""
    from rollguard import DeploymentMonitor

    monitor = DeploymentMonitor(
        execution_store=guard.store,
        tool_registry=guard.registry,
        notifiers=[AppriseNotifier(mailbox.url, base_url=BASE)],
    )
    guard.deploy(1, at=NOW - timedelta(days=1))
    guard.calls(100, 0, start=NOW - timedelta(hours=20))
    guard.deploy(2)
    session = monitor.start_monitoring(tool_name="my_tool", deployment_time=NOW)
    guard.calls(15, 15, start=NOW)
    later = NOW + timedelta(hours=2)
    assert monitor.auto_rollback_if_needed(tool_name="my_tool", session_id=session, now=later)["rollback_performed"]
    monitor.dispatcher.deliver(later)
    ((subject, text),) = mailbox.texts()
    assert subject == "my_tool: rolled back from version 2 to 1"
    assert "Why: 15 of 30 calls failed (50 %) since the deployment, 0 of 100 calls failed (0 %) before" in text
    assert "Done: version 1 is live again" in text
    assert f"See: {BASE}/sessions/{session}" in text
