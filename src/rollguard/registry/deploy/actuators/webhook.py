"""A signed webhook that puts a version in its place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rollguard.errors import ActuatorFailed, InvalidInput
from rollguard.http_client import WAITS, posting
from rollguard.registry.deploy.actuators.actuator import Order

_ANSWER = 16_384  # bytes of an answer that are read


class WebhookActuator:
    """POSTs each order as signed JSON. Only an answer of 2xx acknowledges; redirections are not followed.

    The body says `action`, `tool_name`, `version_number`, `sha256`, `code` (base64), `key` and `sequence`; see `Order`.
    The headers: `Idempotency-Key` is the order's key, the same at every repetition; `Rollguard-Timestamp` is the Unix
    time; `Rollguard-Signature` is `sha256=` and the HMAC-SHA-256, in hexadecimal, of the timestamp, a full stop and the
    body. A receiver refuses a wrong signature and an old timestamp.

    Args:
        url: `http://` or `https://`.
        secret: shared with the receiver.
        timeout: seconds to wait for a connection, and for each part of the answer; all of it takes four times that
            at most.
        pauses: seconds to wait before each repetition; what is not acknowledged then is repeated by a later cycle.

    Raises:
        InvalidInput: nothing can be posted to the URL, or there is no secret.
    """

    kind = "webhook"

    def __init__(self, url: str, secret: str, *, timeout: float = 10.0, pauses: Sequence[float] = (0.5, 2.0)) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput("webhook: nothing can be posted to its URL; give http://host/path or https://host/path")
        if not secret:
            raise InvalidInput("webhook: it needs a secret, which its receiver knows the sender by")
        self._url, self._secret = url, secret.encode()
        self._timeout, self._pauses = timeout, tuple(pauses)

    @property
    def patience(self) -> float:
        """Seconds that `put` takes at most."""
        return (len(self._pauses) + 1) * WAITS * self._timeout + sum(self._pauses)

    def put(self, order: Order) -> str | None:
        """Send the order, again if need be, and return the beginning of the answer.

        Raises:
            ActuatorFailed: no answer of 2xx came.
        """
        body = _body(order)
        for pause in self._pauses:
            try:
                return self._post(order, body)
            except ActuatorFailed:
                time.sleep(pause)
        return self._post(order, body)

    def _post(self, order: Order, body: bytes) -> str:
        import httpx2

        timestamp = str(int(datetime.now(UTC).timestamp()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": order.key,
            "Rollguard-Timestamp": timestamp,
            "Rollguard-Signature": signature_of(self._secret, timestamp, body),
        }
        try:
            with posting(self._url, body, headers, timeout=self._timeout) as answer:
                said, until = b"", time.monotonic() + self._timeout
                for part in answer.iter_raw():  # an answer without end would never be done
                    said += part
                    if len(said) >= _ANSWER or time.monotonic() >= until:
                        break
                status, phrase = answer.status_code, answer.reason_phrase
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ActuatorFailed(f"the webhook did not answer: {type(error).__name__}: {error}") from error
        text = said[:_ANSWER].decode("utf-8", "replace")
        if not 200 <= status < 300:
            raise ActuatorFailed(f"the webhook answered {status} {phrase}", text)
        return text


def signature_of(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature of a request, for a receiver to compare with `hmac.compare_digest`."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _body(order: Order) -> bytes:
    version = order.version
    return json.dumps(
        {
            "action": order.action,
            "tool_name": version.tool_name,
            "version_number": version.version_number,
            "sha256": version.sha256,
            "code": base64.b64encode(version.code).decode(),
            "key": order.key,
            "sequence": order.sequence,
        }
    ).encode()
