"""The endpoints of OTLP/HTTP, and what records the calls that waited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from rollguard.errors import StoreError
from rollguard.model.log import logger_of
from rollguard.service.api.common import REFUSED, problems
from rollguard.service.auth import Caller, Ingesting
from rollguard.service.otlp import json_encoding, protobuf
from rollguard.service.otlp.answers import JSON, PROTOBUF, accepted, refused
from rollguard.service.otlp.receiver import Receiver, Taken
from rollguard.service.otlp.spans import Batch, Malformed, TooMuch

logger = logger_of(__name__)

_BYTES, _TIMES = 2_048, 6  # of memory that a span takes beside its texts, and for each byte of a body
_EVERY = 1.0  # seconds between two looks for calls that waited long enough
_READERS: dict[tuple[str, bool], Callable[[bytes], Batch]] = {
    (PROTOBUF, False): protobuf.traces,
    (PROTOBUF, True): protobuf.logs,
    (JSON, False): json_encoding.traces,
    (JSON, True): json_encoding.logs,
}
_SCHEMA = {"schema": {"type": "string", "format": "binary"}}
_BODY = {"requestBody": {"required": True, "content": {PROTOBUF: _SCHEMA, JSON: {"schema": {"type": "object"}}}}}
_OWN: dict[str, Any] = {PROTOBUF: _SCHEMA, JSON: {"schema": {"type": "object"}}}


def _answers() -> dict[int | str, dict[str, Any]]:
    """Return the answers for the OpenAPI document: what the receiver itself refuses is a `google.rpc.Status`."""
    found = problems(400, 408, 413, 415, 503)
    for status in (400, 413, 415, 503):
        del found[status]["model"]  # it would be taken for the form of the JSON, too
        found[status]["content"] |= _OWN
    return found | {200: {"description": "what was taken, and what was rejected", "content": _OWN}}


@contextlib.asynccontextmanager
async def _recording_due(app: FastAPI) -> AsyncIterator[None]:
    receiver = receiver_of(app)

    async def record() -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await run_in_threadpool(receiver.record_due, datetime.now(UTC))
            except StoreError as error:
                logger.warning("calls that waited for other spans are recorded later: %s", error)

    task = asyncio.create_task(record(), name="rollguard-otlp")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


router = APIRouter(prefix="/v1", tags=["opentelemetry"], responses=REFUSED, lifespan=_recording_due)


def receiver_of(app: FastAPI) -> Receiver:
    """Return the receiver of an application, made when it is first needed."""
    if not hasattr(app.state, "otlp"):
        app.state.otlp = Receiver(app.state.service.guard)
    found: Receiver = app.state.otlp
    return found


@router.post("/traces", openapi_extra=_BODY, responses=_answers())
async def export_traces(request: Request, caller: Ingesting) -> Response:
    """Take spans of OpenTelemetry, and record the calls of tools among them (OTLP/HTTP, protobuf or JSON)."""
    return await _taken(request, caller, logs=False)


@router.post("/logs", openapi_extra=_BODY, responses=_answers())
async def export_logs(request: Request, caller: Ingesting) -> Response:
    """Take logs of OpenTelemetry: exceptions that were logged within spans of calls (OTLP/HTTP, protobuf or JSON)."""
    return await _taken(request, caller, logs=True)


async def _taken(request: Request, caller: Caller, *, logs: bool) -> Response:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    read = _READERS.get((media_type, logs))
    if read is None:
        said = f"Content-Type: {media_type!r} is not one of OTLP; send {PROTOBUF} or {JSON}"
        return _refusal(PROTOBUF, 415, said)
    body = await request.body()

    service, receiver = request.app.state.service, receiver_of(request.app)

    def received() -> Batch:
        batch = read(body)
        service.rates.take_rows(caller.key, batch.total)
        return batch

    def taken_of(batch: Batch) -> Taken:
        now = datetime.now(UTC)
        return receiver.take_logs(batch, now) if logs else receiver.take_traces(batch, caller.may_record, now)

    try:
        taken = await service.turns.take(received, lambda batch: _BYTES * batch.total + _TIMES * len(body), taken_of)
    except Malformed as error:
        return _refusal(media_type, 400, str(error))
    except TooMuch as error:
        return _refusal(media_type, 413, str(error))
    except StoreError as error:
        return _refusal(media_type, 503, str(error), {"Retry-After": "5"})
    return Response(accepted(media_type, taken.rejected, taken.message, logs=logs), media_type=media_type)


def _refusal(media_type: str, status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(refused(media_type, status, message), status, headers, media_type)


def add_to(app: FastAPI) -> None:
    """Add the receiver to an application."""
    app.include_router(router)
