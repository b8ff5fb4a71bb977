"""A reverse proxy: a listener of its own that serves another server below a prefix, and nothing beside it."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_OF_THE_CONNECTION = ("connection", "transfer-encoding", "keep-alive")


class Proxy:
    """Passes on what is below the prefix, without it, and answers everything else with 404.

    Attributes:
        address: where it listens.
        outside: the paths without the prefix that were asked for.
    """

    def __init__(self, prefix: str, port: int) -> None:
        self.outside: list[str] = []
        outside = self.outside

        class Passing(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not self.path.startswith(f"{prefix}/"):
                    outside.append(self.path)
                    self.send_error(404)
                    return
                behind = HTTPConnection("127.0.0.1", port)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                behind.request(self.command, self.path.removeprefix(prefix), body, dict(self.headers.items()))
                answer = behind.getresponse()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _OF_THE_CONNECTION:
                        self.send_header(name, value)
                self.end_headers()
                try:
                    while part := answer.read1(65536):  # an event is passed on as it comes
                        self.wfile.write(part)
                except ConnectionError:
                    self.close_connection = True  # the browser has left
                finally:
                    behind.close()

            do_POST = do_GET  # noqa: N815 - the name that http.server looks for

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
