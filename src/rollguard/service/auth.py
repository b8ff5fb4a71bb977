"""Who calls, and what they may do: by a bearer token, or by whatever `authenticators` recognise."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from rollguard.errors import StoreUnavailable
from rollguard.model.token import Scope, Token
from rollguard.service.problems import Refused
from rollguard.store import ExecutionStore

LOCAL = "local"
"""The name of every caller while there are no tokens; only this machine can call then."""

_KEPT = 5.0  # seconds that a token is not read again: it is revoked within so many
_KEPT_AWAY = 3_600.0  # seconds that a known token is taken while the database is away, so that its calls are kept
_MOST_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: the acting person: what they decide is recorded under this name.
        scopes: what they may do.
        tools: the tools whose executions they may record; empty for every tool.
        key: by which their rate is counted.
    """

    name: str
    scopes: frozenset[Scope]
    tools: tuple[str, ...] = ()
    key: str = ""

    def may_record(self, tool_name: str) -> bool:
        """Return whether they may record executions of a tool."""
        return not self.tools or tool_name in self.tools


Authenticator = Callable[[Request], Awaitable[Caller | None]]
"""Returns who sent a request; None if it does not recognise them. It may raise `Refused`."""


@dataclass
class Tokens:
    """The store's tokens, each read again after some seconds.

    Args:
        store: holds them.
        clock: a monotonic clock, in seconds.
    """

    store: ExecutionStore
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, Token]] = field(default_factory=dict, repr=False)
    _exist: bool = False

    def of_secret(self, secret: str) -> Token | None:
        """Return the valid token with this secret.

        Raises:
            StoreUnavailable: it is not known, and the database is away.
        """
        read_at, token = self._kept.get(secret, (0.0, None))
        age = self.clock() - read_at
        if token is None or age > _KEPT:
            try:
                token = self.store.tokens.of_secret(secret)
            except StoreUnavailable:
                if token is None or age > _KEPT_AWAY:
                    raise
            else:
                self._keep(secret, token)
        return token if token is not None and token.valid_at(datetime.now(UTC)) else None

    def _keep(self, secret: str, token: Token | None) -> None:
        self._kept.pop(secret, None)
        if token is not None:
            while len(self._kept) >= _MOST_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[secret] = self.clock(), token

    def forget(self, secret: str) -> None:
        """Read the token with this secret again the next time, because it changed."""
        self._kept.pop(secret, None)

    def exist(self) -> bool:
        """Return whether there was ever a token; no token is ever deleted."""
        self._exist = self._exist or self.store.tokens.exist()
        return self._exist


@dataclass
class Auth:
    """Who may do what.

    Args:
        tokens: the store's.
        open_to_this_machine: whether, while there is no token, everyone may do everything. The service then listens to
            its own machine alone.

    Attributes:
        authenticators: asked in their order who sent a request that has no bearer token.
    """

    tokens: Tokens
    open_to_this_machine: bool = False
    authenticators: list[Authenticator] = field(default_factory=list)

    async def caller(self, request: Request) -> Caller:
        """Return who sent a request.

        Raises:
            Refused: nobody knows them.
            StoreUnavailable: whether the token is valid cannot be read.
        """
        if "authorization" in request.headers:
            return await self._by_bearer(request)
        for authenticator in self.authenticators:
            if (found := await authenticator(request)) is not None:
                return found
        if self.open_to_this_machine and not await run_in_threadpool(self.tokens.exist):
            return Caller(LOCAL, frozenset(Scope), key=LOCAL)
        raise _unauthorized("this needs a token; send the header Authorization: Bearer TOKEN")

    async def _by_bearer(self, request: Request) -> Caller:
        kind, _, secret = request.headers["authorization"].partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise _unauthorized("the header Authorization is not of the form: Bearer TOKEN")
        token = await run_in_threadpool(self.tokens.of_secret, secret.strip())
        if token is None:
            raise _unauthorized("the token is unknown, expired or revoked; make one with: rollguard token create")
        return Caller(token.name, token.scopes, token.tools, key=f"token {token.token_id}")


def _unauthorized(detail: str) -> Refused:
    return Refused(401, detail, {"WWW-Authenticate": "Bearer"})


_bearer = HTTPBearer(auto_error=False, description="A token of `rollguard token create`.", scheme_name="token")


def require(scope: Scope) -> Any:
    """Return the dependency of an endpoint: the `Caller`, who has this scope and is within their rate."""

    async def allowed(request: Request, _shown: Annotated[Any, Security(_bearer)] = None) -> Caller:
        service = request.app.state.service
        try:
            caller: Caller = await service.auth.caller(request)
        except Refused:
            service.rates.take_request(f"host {request.client.host if request.client else ''}")
            raise
        service.rates.take_request(caller.key)
        if scope not in caller.scopes:
            has = ", ".join(sorted(caller.scopes)) or "none"
            raise Refused(403, f"this needs the scope {scope}; the scopes of {caller.name} are: {has}")
        return caller

    return Depends(allowed)


Ingesting = Annotated[Caller, require(Scope.INGEST)]
Reading = Annotated[Caller, require(Scope.READ)]
Operating = Annotated[Caller, require(Scope.OPERATE)]
Approving = Annotated[Caller, require(Scope.APPROVE)]
