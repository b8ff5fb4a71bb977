"""Encode parameters and results as JSON: any value, up to a size limit, redacted or left out."""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from rollguard.model.log import logger_of

logger = logger_of(__name__)

MAX_DEPTH = 100  # deeper values are not stored, because JSON readers have limits too
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_TOO_DEEP = f"<deeper than {MAX_DEPTH} levels>"

Redact = Callable[[str, str, Any], Any]
"""(tool name, "parameters" or "result", value) → the value to store.

`value` is a copy of plain JSON values. A hook may change it in place and need not know the tool's classes.
"""


@dataclass(frozen=True, slots=True)
class Payloads:
    """How parameters and results are stored.

    Attributes:
        keep: False stores none of them.
        max_bytes: the largest JSON stored whole; of a larger one, its beginning and its size are stored.
        redact: called before each write. If it raises, the value is left out and the error's type is stored.
    """

    keep: bool = True
    max_bytes: int = 16_384
    redact: Redact | None = None

    def encode(self, tool_name: str, what: str, value: Any) -> str | None:
        """Return `value` as JSON text in ASCII, or None if there is nothing to store. Raise nothing, change nothing."""
        if not self.keep or value is None:
            return None
        if self.redact is not None:
            try:
                value = self.redact(tool_name, what, plain(value))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's hook; its error must not leak the value
                # The message may contain the value, so only the type is stored.
                kind = type(error).__name__
                logger.warning("redaction of %s of %s failed with %s, so it is left out", what, tool_name, kind)
                return json.dumps({"redaction_failed": kind})
            if value is None:
                return None
        return _json(value, self.max_bytes)

    def encode_each(self, tool_names: Sequence[str], what: str, values: Sequence[Any]) -> list[str | None]:
        """Return each of some values as `encode` does, each with the name of its tool."""
        if self.keep and self.redact is None:
            return [None if value is None else _json(value, self.max_bytes) for value in values]
        return [self.encode(tool_name, what, value) for tool_name, value in zip(tool_names, values, strict=True)]


def _json(value: Any, max_bytes: int) -> str:
    try:
        text = "".join(_chunks(value, 0))
    except (Exception, SystemExit):  # noqa: BLE001 - NaN, a key of another type, a circle, too deep, changed by a thread
        text = "".join(_chunks(plain(value), 0))
    return text if len(text) <= max_bytes else _beginning(text, max_bytes)


def _beginning(text: str, max_bytes: int) -> str:
    """Return a JSON object of at most `max_bytes` with as much of `text` as fits (at least an empty beginning)."""
    low, high = 0, min(len(text), max_bytes)
    while low < high:  # a quote in the text takes two bytes, so search for the length that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(_framed(text, middle)) <= max_bytes else (low, middle - 1)
    return _framed(text, low)


def _framed(text: str, kept: int) -> str:
    return json.dumps({"truncated": True, "bytes": len(text), "beginning": text[:kept]})


# --- any value as plain JSON values ----------------------------------------------------------------------------------


def _one_level(value: Any) -> Any:
    """Convert a value that JSON cannot hold by one level. Iterators are not consumed: the caller needs them."""
    try:
        nearer = _nearer(value)
    except (Exception, SystemExit):  # noqa: BLE001 - a tool's own class may raise anything
        return _described(value)
    return nearer if isinstance(nearer, str | int | float | list | dict) else _described(value)


def _nearer(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(warnings=False)  # fields that the model excludes or masks stay hidden
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name, None) for f in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return list(value)
    if isinstance(value, Iterator):
        return None
    return to_jsonable_python(value, inf_nan_mode="strings", bytes_mode="base64", fallback=_described)


def plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return a copy of any `value` that is made of dicts, lists, strings, finite numbers, booleans and None."""
    try:
        if value is None or isinstance(value, bool | str | int | float):
            return _scalar(value)
        if id(value) in above or len(above) >= MAX_DEPTH:
            return "<circular>" if id(value) in above else _TOO_DEEP
        inside = (*above, id(value))
        if isinstance(value, dict):
            return {_key(key): plain(item, inside) for key, item in list(value.items())}
        if isinstance(value, list | tuple):
            return [plain(item, inside) for item in list(value)]
        return plain(_one_level(value), inside)
    except (Exception, SystemExit):  # noqa: BLE001 - as above
        return _described(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str(key)
    nearer = plain(key)
    return nearer if isinstance(nearer, str) else json.dumps(nearer)


def _scalar(value: Any) -> Any:
    """Return the plain value of a subclass of str, int or float."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__pos__(value) if math.isfinite(value) else _NOT_FINITE[float.__repr__(value)]
    try:
        int.__repr__(value)
    except ValueError:  # more digits than Python writes in decimal
        return hex(value)
    return int.__pos__(value)


def _described(value: Any) -> str:
    try:
        return repr(value)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool's own class may fail to describe itself
        return f"<{type(value).__name__}: repr failed with {type(error).__name__}>"


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return an encoder to ASCII JSON: PostgreSQL's text takes no lone surrogates and NULs, but takes their escapes.

    `JSONEncoder.encode` creates a C encoder for every value, which takes longer than encoding a small value. This one
    is created once. It does not check for circles, so threads can share it; a circle ends in a RecursionError.
    `pydantic_core.to_json` is faster still, but consumes a caller's generators.
    """
    encoder = json.JSONEncoder(
        allow_nan=False, ensure_ascii=True, check_circular=False, separators=(",", ":"), default=_one_level
    )
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return lambda value, _level: encoder.encode(value)
    options = (None, ":", ",", False, False, False)  # indent, separators, sort_keys, skipkeys, allow_nan
    return make(None, _one_level, json.encoder.encode_basestring_ascii, *options)  # type: ignore[no-any-return]


_chunks = _encoder()


def clean_text(text: str, limit: int = 8_192) -> str:
    """Return text that every database takes: no NUL, no lone surrogate, at most `limit` characters."""
    if not text.isascii() or "\x00" in text:
        text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
