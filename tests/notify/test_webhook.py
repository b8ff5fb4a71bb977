"""The webhook, against a real server on this machine."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollguard import ExecutionStore
from rollguard import http_client as posting
from rollguard.errors import ActuatorFailed, InvalidInput
from rollguard.model.version import Version
from rollguard.notify import Dispatcher, NotDelivered, Unreachable, WebhookNotifier
from rollguard.registry.deploy.actuators import Request, WebhookActuator
from rollguard.store import digest
from tests.conftest import NOW
from tests.notify.test_events import event


class Receiver:
    """An HTTP server that responds with `status` and records the requests."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, str, Any]] = []
        self.release = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
                if self.path == "/silent":
                    receiver.release.wait(300)
                    return
                self.send_response(receiver.status)
                if 300 <= receiver.status < 400:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                while self.path == "/endless" and not receiver.release.is_set():
                    try:
                        self.wfile.write(b"x" * 65_536)
                    except OSError:
                        return

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def test_post(receiver: Receiver) -> None:
    """An event is sent as one JSON POST with everything in it."""
    sent = event(title="“é\ud800\0”", details={"n": [1, None]})
    WebhookNotifier(f"{receiver.url}/hook?key=1").notify(sent)
    ((path, content_type, body),) = receiver.got
    assert (path, content_type) == ("/hook?key=1", "application/json")
    assert body == sent.to_dict()


class Dripping:
    """A server whose response comes byte by byte and never ends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self._over.wait(0.02):
                connection.sendall(b"x")

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def dripping() -> Iterator[Dripping]:
    running = Dripping()
    yield running
    running.close()


@pytest.fixture(params=[0.01, 0.0], ids=["at its time", "before it is connected"])
def over_soon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a whole POST is over long before the time for a part of it, however busy the machine is."""
    assert posting.WAITS == 4
    monkeypatch.setattr(posting, "WAITS", request.param)


@pytest.mark.usefixtures("over_soon")
def test_an_answer_that_drips_is_not_waited_for(dripping: Dripping) -> None:
    """A receiver that sends byte after byte delays the dispatcher for at most four times the timeout."""
    with pytest.raises(Unreachable, match=r"took longer than 0(\.6)? s"):
        WebhookNotifier(dripping.url, timeout=60).notify(event())


@pytest.mark.usefixtures("over_soon")
def test_a_request_whose_response_drips_is_not_acknowledged(dripping: Dripping) -> None:
    """An actuator whose response never ends has failed, within the time that its lease allows."""
    actuator = WebhookActuator(dripping.url, "s3cret", timeout=60, pauses=())
    assert actuator.patience == 4 * 60
    version = Version("my_tool", 3, b"x", digest(b"x"), "improvement", "ada", None, 2, NOW)
    with pytest.raises(ActuatorFailed, match=r"took longer than 0(\.6)? s"):
        actuator.put(Request(version, "rollback", "key", 1))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_delivered(receiver: Receiver, status: int) -> None:
    """Every 2xx response counts as delivered."""
    receiver.status = status
    WebhookNotifier(receiver.url).notify(event())
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_refused(receiver: Receiver, status: int) -> None:
    """Every other response is `NotDelivered` with its status; redirections are not followed."""
    receiver.status = status
    with pytest.raises(NotDelivered, match=str(status)) as caught:
        WebhookNotifier(receiver.url).notify(event())
    assert not isinstance(caught.value, Unreachable)
    assert len(receiver.got) == 1


def test_timeout(receiver: Receiver) -> None:
    """A server that does not respond in time is `Unreachable`."""
    with pytest.raises(Unreachable, match="ReadTimeout"):
        WebhookNotifier(f"{receiver.url}/silent", timeout=0.2).notify(event())


def test_an_endless_answer(receiver: Receiver) -> None:
    """Only the status is read, so a response without end delays nothing."""
    WebhookNotifier(f"{receiver.url}/endless", timeout=60).notify(event())
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url", ["", "nowhere", "ftp://127.0.0.1/", "http://127.0.0.1:notaport/", "http://", "http://[bad", "http://h:0/"]
)
def test_impossible_urls(url: str) -> None:
    """An invalid URL is refused when the channel is created."""
    with pytest.raises(InvalidInput, match="webhook"):
        WebhookNotifier(url)


def test_unreachable() -> None:
    """A port on which nobody listens is `Unreachable`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(Unreachable, match="ConnectError"):
            WebhookNotifier(f"http://127.0.0.1:{port}/").notify(event())


def test_the_secret_in_the_url() -> None:
    """The URL's path, query and password are in neither name nor errors; different URLs have different names."""
    urls = [f"http://user:{secret}@127.0.0.1:1/services/{secret}?key={secret}" for secret in ("s3cret", "t0ken")]
    names = [WebhookNotifier(url).name for url in urls]
    assert len(set(names)) == 2
    assert names[0] == WebhookNotifier(urls[0]).name
    assert names[0].startswith("webhook http://127.0.0.1:1 ")
    with pytest.raises(NotDelivered) as caught:
        WebhookNotifier(urls[0]).notify(event())
    assert "s3cret" not in names[0] + str(caught.value)


def test_the_url_is_not_logged(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP client logs no URL of ours, at any level; the requests of others it logs as before."""
    caplog.set_level(logging.DEBUG)
    WebhookNotifier(f"{receiver.url}/s3cret?key=s3cret").notify(event())
    assert len(receiver.got) == 1
    assert "s3cret" not in caplog.text
    httpx2.post(f"{receiver.url}/other", json={})
    assert "/other" in caplog.text


def test_by_the_dispatcher(receiver: Receiver, tmp_path: Path) -> None:
    """A server that fails first and then recovers receives the event, with the same id."""
    with ExecutionStore(f"sqlite:///{tmp_path}/rollguard.db") as store:
        dispatcher = Dispatcher(store, [WebhookNotifier(receiver.url)])
        sent = event()
        store.outbox.add(sent.to_dict(), NOW)
        receiver.status = 500
        assert dispatcher.deliver(NOW) == 0
        receiver.status = 200
        assert dispatcher.deliver(NOW + timedelta(seconds=10)) == 1
    assert [body["event_id"] for _, _, body in receiver.got] == [sent.event_id] * 2
