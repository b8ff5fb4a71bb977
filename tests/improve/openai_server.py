"""An HTTP server that speaks OpenAI's chat protocol and answers what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


class Server(ThreadingHTTPServer):
    """The server.

    Attributes:
        requests: the bodies that it was sent.
        keys: the headers `Authorization` of them.
        released: ends the requests that hang.
    """

    daemon_threads = True

    def __init__(self, replies: list[Reply | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.requests, self.keys = replies, list[dict[str, Any]](), list[str]()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        number = len(self.server.requests)
        self.server.requests.append(asked)
        self.server.keys.append(self.headers["Authorization"])
        reply = self.server.replies[min(number, len(self.server.replies) - 1)]
        if reply is None:  # hangs
            self.server.released.wait()
            self.close_connection = True
            return
        status, body = reply(asked)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_given: Any) -> None:
        """Print nothing."""


@contextmanager
def serving(*replies: Reply | None) -> Iterator[Server]:
    """A server that answers with these in turn, the last one again and again; None never answers."""
    server = Server(list(replies))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def repair(source: str, reason: str = "It strips commas.", *, model: str = "local-coder-1") -> Reply:
    """A reply with a repair, as models give structured answers: by the function that the request offers."""

    def reply(asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = asked["tools"][0]["function"]["name"]
        arguments = json.dumps({"source": source, "reason": reason})
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
        return 200, completion({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls", model)

    return reply


def text(content: str) -> Reply:
    """A reply with text instead of a structured answer."""
    return lambda _asked: (200, completion({"role": "assistant", "content": content}, "stop"))


def error(status: int, message: str) -> Reply:
    """An error of the endpoint."""
    return lambda _asked: (status, {"error": {"message": message, "type": "error", "code": None}})


def completion(message: dict[str, Any], finish: str, model: str = "local-coder-1") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_772_366_400,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000},
    }
