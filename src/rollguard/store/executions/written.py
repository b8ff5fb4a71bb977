"""Write plain values as JSON in ASCII: one value, or many small ones at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return an encoder to ASCII JSON: PostgreSQL's text takes no lone surrogates and NULs, but takes their escapes.

    `JSONEncoder.encode` creates a C encoder for every value, which takes longer than encoding a small value. This one
    is created once, so threads can share it. It is given plain copies only, which hold no circle.
    """
    encoder = json.JSONEncoder(allow_nan=False, ensure_ascii=True, check_circular=False, separators=(",", ":"))
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return lambda value, _level: encoder.encode(value)
    options = (None, ":", ",", False, False, False)  # indent, separators, sort_keys, skipkeys, allow_nan
    return make(None, encoder.default, quoted, *options)  # type: ignore[no-any-return]


_chunks = _encoder()


def written(value: Any) -> str:
    """Return plain values as JSON in ASCII; what is ASCII already takes a third of the time."""
    try:
        text = to_json(value)
    except PydanticSerializationError:  # a lone surrogate
        text = b"\xff"
    return str(text, "ascii") if text.isascii() else "".join(_chunks(value, 0))


def written_each(objects: Sequence[dict[str, Any]]) -> list[str]:
    """Return each of some dicts without containers in them as `written` does, all at once: in a third of the time."""
    # JSON escapes the line breaks in texts. Should a text hold `},{`, there are more lines than objects.
    lines = written(objects)[1:-1].replace("},{", "}\n{").split("\n")
    return lines if len(lines) == len(objects) else list(map(written, objects))
