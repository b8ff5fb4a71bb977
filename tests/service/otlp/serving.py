"""The service on a socket, for clients that need one."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn
from starlette.testclient import TestClient

from rollguard import Rollguard
from rollguard.service.app import create_app


@contextmanager
def served(guard: Rollguard) -> Iterator[str]:
    """Serve the guard while the block runs; yields the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(guard, open_to_this_machine=True, watch=False), log_config=None))
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Sink:
    """An endpoint of OTLP that only keeps what real exporters send, to be given to a service later.

    Attributes:
        address: where it listens.
    """

    def __init__(self) -> None:
        requests: list[tuple[str, dict[str, str], bytes]] = []
        self._requests = requests

        class Keeping(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Keeping)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def give_to(self, client: TestClient, *, times: int = 1) -> None:
        """Send all that was kept to a service, as it came, so often."""
        for path, headers, body in self._requests * times:
            if path not in ("/v1/traces", "/v1/logs"):  # what an SDK asks its maker's service
                continue
            kept = {name: headers[name] for name in ("content-type", "content-encoding") if name in headers}
            answer = client.post(path, content=body, headers=kept)
            assert answer.status_code == 200, answer.text
        self._requests.clear()
