"""Ask a service, and turn what it refuses into Rollguard's errors."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NoReturn

import httpx2

from rollguard import errors
from rollguard.errors import InvalidInput, RollguardError, ServiceRefused, StoreUnavailable, unchained
from rollguard.http_client import can_be_posted_to, host_of, silent
from rollguard.model.text import one_line
from rollguard.record.fork_safety import renew_after_fork

_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_SMALL = 1_024  # bytes that are not worth compressing
_SHOWN = 500  # characters of a service's words


class Connection:
    """A service under its URL. Safe to share between threads; a forked child connects anew.

    Args:
        url: the service's, with its prefix if it has one.
        token: a secret of `rollguard token create`; None for a service that needs none.
        timeout: seconds to wait for each part of an answer.
        compress: whether bodies are compressed.
        transport: what sends requests, instead of the network.

    Raises:
        InvalidInput: the URL is none.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        compress: bool = True,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        if not can_be_posted_to(url):
            raise InvalidInput("url: it is no URL with a host, as https://host/path")
        self._name = host_of(url) or "the service"
        self._compress = compress
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}

        def make() -> httpx2.Client:
            base = url if url.endswith("/") else f"{url}/"
            return httpx2.Client(base_url=base, headers=headers, timeout=timeout, transport=transport)

        self._client = make()
        renew_after_fork(self, "_client", make)

    def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        kind: str = "application/json",
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx2.Response:
        """Send a request and return the answer, whatever its status.

        Raises:
            StoreUnavailable: there is no answer.
        """
        sent = dict(headers or {})
        if content is not None:
            sent["Content-Type"] = kind
            if self._compress and len(content) > _SMALL:
                content, sent["Content-Encoding"] = gzip.compress(content, 1), "gzip"
        given = {name: value for name, value in (params or {}).items() if value is not None}
        options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        try:
            with silent():
                return self._client.request(method, path, content=content, params=given, headers=sent, **options)
        except httpx2.HTTPError as error:  # its text may hold the URL
            failed = StoreUnavailable(f"{self._name} does not answer: {type(error).__name__}; try again later")
        return unchained(failed)

    def answer(self, response: httpx2.Response) -> httpx2.Response:
        """Return an answer that is no refusal.

        Raises:
            StoreUnavailable: the service is away, or asks to be asked later.
            ServiceRefused, or the error that the service names: it refused the request.
        """
        if not response.is_success and response.status_code != HTTPStatus.NOT_MODIFIED:
            self._refuse(response)
        return response

    def json(self, response: httpx2.Response) -> Any:
        """Return the JSON of an answer that is no refusal. The errors are those of `answer`."""
        self.answer(response)
        try:
            return response.json()
        except ValueError:  # of a proxy, or of another program at this URL
            failed = StoreUnavailable(self.says(response))
        return unchained(failed)

    def says(self, response: httpx2.Response) -> str:
        """Return why the service refused a request."""
        found = _problem(response)
        detail = found.get("detail")
        said = detail if isinstance(detail, str) else f"status {response.status_code}, from no Rollguard service"
        return f"{self._name}: {one_line(said)[:_SHOWN]}"

    def _refuse(self, response: httpx2.Response) -> NoReturn:
        said, status = self.says(response), response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _AGAIN:
            raise StoreUnavailable(said)
        raise _kind_of(_problem(response).get("error"))(said)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _problem(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_PLAIN: Iterable[type[RollguardError]] = (
    *(errors.UnknownTool, errors.UnknownVersion, errors.UnknownSession, errors.InvalidInput, errors.InvalidToolName),
    *(errors.ToolLoadError, errors.DeploymentConflict, errors.ReleaseConflict, errors.BreakingChange),
    *(errors.RehearsalRefused, errors.RehearsalUndecided, errors.SessionClosed, errors.RollbackRefused),
    *(errors.CodeQuarantined, errors.NoEarlierVersion, errors.UnknownAttempt, errors.AttemptClosed),
    errors.ApprovalRefused,
)
_KINDS = {kind.__name__: kind for kind in _PLAIN}


def _kind_of(name: object) -> type[RollguardError]:
    return _KINDS.get(name, ServiceRefused) if isinstance(name, str) else ServiceRefused
