"""Look at protobuf's bytes before they are parsed: an empty message takes two bytes of them, and a hundred in memory.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollguard.service.otlp.spans import Malformed, Values

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL = 65_536  # bytes that are parsed without a look
_DEEPEST = 100

# The fields of OTLP that hold messages, by the kind of the message and their number: the kind that they hold.
_HELD: Mapping[str, Mapping[int, str]] = {
    "span": {9: "pair", 11: "event", 13: "link", 15: "status"},
    "record": {5: "value", 6: "pair"},
    "event": {3: "pair"},
    "link": {4: "pair"},
    "resource": {1: "pair", 3: "entity"},
    "scope": {3: "pair"},
    "pair": {2: "value"},
    "value": {5: "list", 6: "pairs"},
    "list": {1: "value"},
    "pairs": {1: "pair"},
    "status": {},
    "entity": {3: "", 4: ""},
    "": {},
}


def held(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field that holds texts, bytes or a message.

    Raises:
        Malformed: the data is not protobuf.
    """
    place, end = 0, len(data)
    while place < end:
        tag, place = _varint(data, place)
        kind, length = tag & 7, 0
        if kind == _BYTES:
            length, place = _varint(data, place)
        elif kind == _VARINT:
            _number, place = _varint(data, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise Malformed(f"the body is not of OTLP in protobuf: it has a field of the wire type {kind}")
        if place + length > end:
            raise Malformed("the body is not of OTLP in protobuf: a field is longer than what holds it")
        if kind == _BYTES:
            yield tag >> 3, data[place : place + length]
        place += length


def count(data: memoryview, kind: str, values: Values) -> None:
    """Count the messages in one that is to be parsed, if they may be many.

    Raises:
        TooMuch: there are too many.
        Malformed: the data is not protobuf.
    """
    if len(data) > _SMALL:
        _count(data, _HELD[kind], values, 0)


def _count(data: memoryview, kinds: Mapping[int, str], values: Values, depth: int) -> None:
    for number, content in held(data):
        if number in kinds:
            values.add(1)
            if depth > _DEEPEST:
                raise Malformed("the body is not of OTLP in protobuf: it is nested too deeply")
            _count(content, _HELD[kinds[number]], values, depth + 1)


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    try:
        byte = data[place]
        if byte < 0x80:
            return byte, place + 1
        number, shift = byte & 0x7F, 7
        while byte >= 0x80:
            place += 1
            byte = data[place]
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 70:
                break
        else:
            return number, place + 1
    except IndexError:
        raise Malformed("the body is not of OTLP in protobuf: it ends early") from None
    raise Malformed("the body is not of OTLP in protobuf: it has a number of more than ten bytes")
