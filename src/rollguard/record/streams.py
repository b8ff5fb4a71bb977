"""Record a tool that returns a stream when the stream ends: with what failed in its middle, and how long it took."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

from rollguard.record.endings import ends_with_its_process

if TYPE_CHECKING:
    from rollguard.record.call import Call

_NO_STREAMS = frozenset({bool, int, float, str, bytes, dict, list, tuple, type(None)})  # what most calls return


def is_stream(result: object) -> bool:
    """Return whether a result is a generator or an async iterator, whose work comes after it was returned."""
    if type(result) in _NO_STREAMS:
        return False
    return inspect.isgenerator(result) or (isinstance(result, AsyncIterator) and not isinstance(result, type))


def recorded_stream(call: Call, stream: Any) -> Any:
    """Return the stream, wrapped so that its end is recorded. One that nobody reads is not recorded, as it never ran.

    A reader that stops early ends the stream: a success, unless it failed by then.
    """
    if inspect.isgenerator(stream):
        return _generator(call, stream)
    if inspect.isasyncgen(stream):
        return _async_generator(call, stream)
    return _AsyncIterator(call, stream)


def _generator(call: Call, stream: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    call.fly()
    try:
        result = yield from stream
    except GeneratorExit:
        _ended(call)
        raise
    except BaseException as error:
        call.failed(error)
        raise
    _ended(call)
    return result


async def _async_generator(call: Call, stream: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    call.fly()
    try:
        item = await anext(stream)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                await stream.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - what the reader throws in is the stream's to handle
                item = await stream.athrow(error)
            else:
                item = await stream.asend(sent)
    except StopAsyncIteration:
        _ended(call)
    except GeneratorExit:
        _ended(call)
        raise
    except BaseException as error:
        call.failed(error)
        raise


class _AsyncIterator:
    """Any other async iterator. It has the attributes and the class of the one inside."""

    def __init__(self, call: Call, stream: Any) -> None:
        self._call, self._stream, self._begun = call, stream, False

    def __aiter__(self) -> _AsyncIterator:
        return self

    async def __anext__(self) -> Any:
        if not self._begun:
            self._begun = True
            self._call.fly()
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self._end()
            raise
        except BaseException as error:
            if self._begun:
                self._begun = False
                self._call.failed(error)
            raise

    def _end(self) -> None:
        if self._begun:
            self._begun = False
            _ended(self._call)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type[Any]:
        return type(self._stream)

    def __del__(self) -> None:
        self._end()


def _ended(call: Call) -> None:
    if ends_with_its_process():
        call.land()
    else:
        call.returned(None, keep=False)
