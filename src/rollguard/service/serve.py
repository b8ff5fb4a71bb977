"""Serve the application by uvicorn: start and stop cleanly, and let no connection hang."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from rollguard.app import Rollguard
from rollguard.errors import InvalidSetting, StoreError
from rollguard.model.log import logger_of
from rollguard.service.app import create_app
from rollguard.service.hosts import is_loopback
from rollguard.service.problems import problem

logger = logger_of(__name__)

_HEADER_SECONDS = 10.0  # until the whole head of a request has arrived
_MOST_CONNECTIONS = 512
_AT_ONCE = 32_768  # bytes that are read of a connection; asyncio would have 262,144 of each in memory
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # of glibc's malloc.h
_LARGE = 262_144  # bytes that are given back when they are freed
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Protocol(H11Protocol):
    """HTTP/1.1 that closes connections on which no whole head of a request arrives in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        with contextlib.suppress(AttributeError):  # another event loop than asyncio's own
            transport.max_size = _AT_ONCE  # type: ignore[attr-defined]
        self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem, as every other refusal; uvicorn's own is plain text."""
        refusal = problem(400, f"{msg} Send HTTP/1.1.", headers={"Connection": "close"})
        for part in (
            h11.Response(status_code=400, headers=refusal.raw_headers, reason=b"Bad Request"),
            h11.Data(data=bytes(refusal.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        self.loop.call_later(_HEADER_SECONDS, self._close_if_waiting, self.cycle)

    def _close_if_waiting(self, before: Any) -> None:
        if self.cycle is before and not self.transport.is_closing():
            self.transport.close()


class FewConnections:
    """Middleware: refuses requests while there are too many connections. uvicorn's own refusal is no problem+json.

    Args:
        app: the application.
        most: connections that are open at once.

    Attributes:
        count: returns how many there are.
    """

    def __init__(self, app: ASGIApp, most: int = _MOST_CONNECTIONS) -> None:
        self._app, self._most = app, most
        self.count: Callable[[], int] = lambda: 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] == "http" and self.count() > self._most:
            said = f"more than {self._most:,} connections are open; try again in a moment"
            await problem(503, said, headers={"Retry-After": "1", "Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Server(uvicorn.Server):
    """A server whose process ends with code 0 after SIGTERM or Ctrl-C."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, limited: FewConnections) -> None:
        super().__init__(config)
        self._app = app
        limited.count = lambda: len(self.server_state.connections)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal. uvicorn's own would send it to the process once more."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let callers that wait for a change go, end the streams of open pages, then finish the requests under way."""
        self._app.state.service.stopping.set()
        self._app.state.live.close()
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it listens when it does."""
        await super().startup(sockets)
        freeze_what_is_loaded()
        for one in sockets or ():
            scheme = "https" if self.config.ssl else "http"
            logger.info("listening on %s://%s; stop with Ctrl-C or SIGTERM", scheme, _shown(one))


def serve(guard: Rollguard, *, host: str | None = None, port: int | None = None, watch: bool | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C: then finish the requests and checks under way. Call it in the main thread.

    Args:
        guard: the system that is served.
        host, port: where to listen; by default as the settings say.
        watch: whether the loop runs in this process; by default as the settings say.

    Raises:
        InvalidSetting: it may not listen there without a token, or cannot.
    """
    settings = guard.settings.service
    host = settings.host if host is None else host
    is_open = _is_open(guard, host)
    listening = _bound(host, settings.port if port is None else port)
    app = create_app(guard, open_to_this_machine=is_open, watch=watch)
    limited = FewConnections(app)
    config = uvicorn.Config(
        limited,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        root_path=settings.root_path,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=settings.shutdown_timeout_seconds,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    _load_tls(config)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of each request that is no HTTP
    _give_memory_back()
    with listening:
        _Server(config, app, limited).run(sockets=[listening])


def _give_memory_back() -> None:
    """Have glibc give back what large bodies took, and let the threads share two heaps, for each keeps what it took."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def freeze_what_is_loaded() -> None:
    """Take what the process has loaded out of the garbage collector's reach. To look through it stops every request.

    That takes 130 ms, at some request or other; what the requests make is looked through in a few.
    """
    gc.collect()
    gc.freeze()


def _is_open(guard: Rollguard, host: str) -> bool:
    """Return whether callers need no token: as long as there is none, and only this machine can call."""
    try:
        if guard.store.tokens.exist():
            return False
    except StoreError as error:
        logger.warning("the database is away, so every caller needs a token: %s", error)
        return False
    if not is_loopback(host):
        raise InvalidSetting(
            "service.host",
            f"{host} may be reached by others, and there is no token; make one first with: "
            "rollguard token create NAME --scope read, or listen on 127.0.0.1",
        )
    logger.warning(
        "there is no token, so everyone on this machine may do everything, and nobody else anything; "
        "make one with: rollguard token create NAME --scope read"
    )
    return True


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        said = f"{host}, port {port}: cannot listen there: {error.strerror}; give another with --host and --port"
        raise InvalidSetting("service", said) from error
    listening.set_inheritable(False)
    return listening


def _load_tls(config: uvicorn.Config) -> None:
    try:
        config.load()
    except OSError as error:  # of ssl too
        said = f"the files for TLS cannot be used: {error.strerror or error}; check tls_cert and tls_key"
        raise InvalidSetting("service.tls_cert", said) from error


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"
