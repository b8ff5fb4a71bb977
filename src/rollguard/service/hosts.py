"""Refuse requests that a browser sends for another site: by another name of this host, or from another origin."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rollguard.service.problems import problem

_HARMLESS = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class CheckedHosts:
    """Middleware: checks the headers Host and Origin.

    A page of another site can have a browser send requests here. By DNS rebinding it does so even under a name of its
    own, and reads the answers. A bearer token is never sent by a browser on its own, so it proves the caller's intent.

    Args:
        app: the application.
        allowed: names by which this service is reached; empty for any, when `only_here` is False.
        only_here: whether this machine alone may call, by a name of its own or an allowed one.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], *, only_here: bool) -> None:
        self._app, self._only_here = app, only_here
        self._allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if not self._is_ours(host):
                said = f"Host: {host!r} is not a name of this service; add it to allowed_hosts under [service]"
                await problem(421, said)(scope, receive, send)
                return
            harmless = scope["method"] in _HARMLESS and not self._only_here
            checked = origin is not None and not harmless and "authorization" not in headers
            if checked and not self._is_own_origin(origin or "", host):
                said = f"Origin: {origin!r} is another site; it may not act here on your behalf"
                await problem(403, said)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        if name in self._allowed:
            return True
        return is_loopback(name) if self._only_here else not self._allowed or is_loopback(name)

    def _is_own_origin(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
            return parts.netloc.lower() == host.lower() or (parts.hostname or "") in self._allowed
        except ValueError:
            return False


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
