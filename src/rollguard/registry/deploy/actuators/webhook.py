"""A signed webhook that makes a version live."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rollguard.errors import ActuatorFailed, InvalidInput
from rollguard.http_client import WAITS, NoAnswer, can_be_posted_to, posting, signature_of
from rollguard.registry.deploy.actuators.actuator import Request

_ANSWER = 16_384  # bytes of a response that are read


class WebhookActuator:
    """POSTs each request as signed JSON. Only a response of 2xx acknowledges; redirects are not followed.

    The body has `action`, `tool_name`, `version_number`, `sha256`, `code` (base64), `key`, `sequence`, `label`; see
    `Request`.
    The headers: `Idempotency-Key` is the request's key, the same at every repetition; `Rollguard-Timestamp` is the Unix
    time; `Rollguard-Signature` is `sha256=` and the HMAC-SHA-256, in hexadecimal, of the timestamp, a full stop and the
    body. A receiver must refuse a wrong signature and an old timestamp.

    Args:
        url: `http://` or `https://`.
        secret: shared with the receiver.
        timeout: seconds to wait for a connection, and for each part of the response; the whole takes four times
            that at most.
        pauses: seconds to wait before each repetition. A later cycle repeats a request that stays unacknowledged.

    Raises:
        InvalidInput: the URL is invalid, or there is no secret.
    """

    kind = "webhook"

    def __init__(self, url: str, secret: str, *, timeout: float = 10.0, pauses: Sequence[float] = (0.5, 2.0)) -> None:
        if not can_be_posted_to(url):
            raise InvalidInput("webhook: nothing can be posted to its URL; give http://host/path or https://host/path")
        if not secret:
            raise InvalidInput("webhook: it needs a secret, which its receiver knows the sender by")
        self._url, self._secret = url, secret.encode()
        self._timeout, self._pauses = timeout, tuple(pauses)

    @property
    def patience(self) -> float:
        """Return the longest duration of `put`, in seconds."""
        return (len(self._pauses) + 1) * WAITS * self._timeout + sum(self._pauses)

    def put(self, request: Request) -> str | None:
        """Send the request, repeat it if needed, and return the beginning of the response.

        Raises:
            ActuatorFailed: no response of 2xx arrived.
        """
        body = _body(request)
        for pause in self._pauses:
            try:
                return self._post(request, body)
            except ActuatorFailed:
                time.sleep(pause)
        return self._post(request, body)

    def _post(self, request: Request, body: bytes) -> str:
        timestamp = str(int(datetime.now(UTC).timestamp()))
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": request.key,
            "Rollguard-Timestamp": timestamp,
            "Rollguard-Signature": signature_of(self._secret, timestamp, body),
        }
        try:
            with posting(self._url, body, headers, timeout=self._timeout) as answer:
                said, until = b"", time.monotonic() + self._timeout
                for part in answer.iter_raw():  # an endless response would never finish
                    said += part
                    if len(said) >= _ANSWER or time.monotonic() >= until:
                        break
                status, phrase = answer.status_code, answer.reason_phrase
        except NoAnswer as error:
            raise ActuatorFailed(f"the webhook did not answer: {error}") from error
        text = said[:_ANSWER].decode("utf-8", "replace")
        if not 200 <= status < 300:
            raise ActuatorFailed(f"the webhook answered {status} {phrase}", text)
        return text


def _body(request: Request) -> bytes:
    version = request.version
    return json.dumps(
        {
            "action": request.action,
            "tool_name": version.tool_name,
            "tools": list(request.tools or (version.tool_name,)),
            "version_number": version.version_number,
            "sha256": version.sha256,
            "code": base64.b64encode(version.code).decode(),
            "key": request.key,
            "sequence": request.sequence,
            "label": request.label,
        }
    ).encode()
