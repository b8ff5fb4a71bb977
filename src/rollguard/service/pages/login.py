"""Log in with a token: a cookie that ends, and can be ended; and forms that only our own pages can send.

A log-in is a token of its own in the store, which lasts some hours and allows what its holder's token allows, without
recording. So it holds on each replica, its secret is stored nowhere, and logging out revokes it. It ends with the token
that it was made with, too.
"""

from __future__ import annotations

import hmac
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rollguard.model.token import LOGIN_MARK, Scope, Token
from rollguard.service.auth import LOCAL, Caller, Tokens
from rollguard.service.problems import Refused
from rollguard.store import ExecutionStore

COOKIE: Final = "rollguard_login"
LASTS = timedelta(hours=12)
_MAKE_ONE = "rollguard token create NAME --scope read"
_KEPT = 5.0  # seconds that it is not read again whether a holder has a valid token
_OF_THIS_PROCESS = secrets.token_bytes(32)


class Logins:
    """Log-ins by token."""

    def __init__(self, store: ExecutionStore, tokens: Tokens) -> None:
        self._store, self._tokens = store, tokens
        self._holders: dict[str, tuple[float, bool]] = {}

    def enter(self, secret: str, now: datetime) -> tuple[str, datetime]:
        """Return the secret of a new log-in, and when it ends.

        Raises:
            Refused: the token is unknown, expired or revoked, or does not allow to read.
        """
        token = self._tokens.of_secret(secret.strip())
        if token is None or token.is_login:
            raise Refused(401, f"The token is unknown, expired or revoked. Make one with: {_MAKE_ONE}")
        allowed = token.scopes - {Scope.INGEST}
        if Scope.READ not in allowed:
            raise Refused(403, f"The token does not allow to read. Make one with: {_MAKE_ONE}")
        ends = min(now + LASTS, token.expires_at or now + LASTS)
        name = f"{token.name[:200]}{LOGIN_MARK}{secrets.token_hex(6)}"
        _login, made = self._store.tokens.create(name, allowed, created_by=token.name, now=now, expires_at=ends)
        return made, ends

    def leave(self, secret: str, now: datetime) -> None:
        """End a log-in."""
        login = self._tokens.of_secret(secret)
        if login is not None and login.is_login:
            self._store.tokens.revoke(login.name, now)
            self._tokens.forget(secret)

    def caller(self, secret: str) -> Caller | None:
        """Return who logged in; None if the log-in ended, or its holder has no valid token any more."""
        login = self._tokens.of_secret(secret)
        if login is None or not login.is_login or not self._holds_token(login):
            return None
        return Caller(login.created_by, login.scopes, key=f"token {login.token_id}")

    def _holds_token(self, login: Token) -> bool:
        """Return whether the token that it was made with, or its successor, is valid; read again after some seconds."""
        read_at, holds = self._holders.get(login.created_by, (0.0, False))
        if not holds or time.monotonic() - read_at > _KEPT:
            holds = self._store.tokens.is_holder(login.created_by, datetime.now(UTC))
            self._holders[login.created_by] = time.monotonic(), holds
        return holds

    async def of_request(self, request: Request) -> Caller | None:
        """Return who sent a request, by its cookie."""
        secret = request.cookies.get(COOKIE)
        return None if not secret else await run_in_threadpool(self.caller, secret)


def set_cookie(request: Request, response: Response, secret: str, ends: datetime) -> None:
    """Give the browser the cookie of a log-in, which no script can read and no other site can send."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=max(0, int((ends - datetime.now(UTC)).total_seconds())),
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def form_token(request: Request) -> str:
    """Return what the forms of this visitor carry; nobody else can know it."""
    secret = request.cookies.get(COOKIE)
    key = secret.encode() if secret else _OF_THIS_PROCESS
    return hmac.new(key, b"form", "sha256").hexdigest()


def check_form(request: Request, given: str, caller: Caller) -> None:
    """Check that a form comes from a page of ours.

    Raises:
        Refused: it does not, or its page is older than the log-in.
    """
    check_origin(request)
    if COOKIE not in request.cookies and caller.name != LOCAL:
        return  # a bearer token, which no browser sends by itself
    if not hmac.compare_digest(given.encode(), form_token(request).encode()):
        raise Refused(403, "The form is not from a page of this log-in. Go back, reload the page and send it again.")


def check_origin(request: Request) -> None:
    """Refuse a request that a page of another origin sent.

    Raises:
        Refused: another origin sent it.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if foreign or site not in ("same-origin", "none"):
        raise Refused(403, "The request comes from a page of another site; nothing was done.")
