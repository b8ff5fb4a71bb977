"""Encode parameters and results as JSON: any value, up to a size limit, redacted or left out.

The work is bounded by what is kept: a value is copied only as far as its JSON fits into the limit.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import numbers
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, is_dataclass
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from rollguard.model.log import logger_of
from rollguard.model.redaction import DEFAULT, REDACTED, Redaction
from rollguard.store.executions.written import written, written_each

logger = logger_of(__name__)

MAX_DEPTH = 100  # deeper values are not stored, because JSON readers have limits too
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_TOO_DEEP = f"<deeper than {MAX_DEPTH} levels>"
_UNLIMITED = 1 << 62
_MOST_SECRETS, _SECRETS_DEPTH = 100, 3  # texts of one call that are looked for in its error
_FEW, _LARGEST = 32, 2**63  # parameters that are looked through before they are copied, and numbers in them
_SIMPLE, _NUMBERS = frozenset({bool, type(None)}), frozenset({int, float})
_FRAME = '{"truncated": true, "beginning": %s}'
_FRAMED = len(_FRAME % '""')

Redact = Callable[[str, str, Any], Any]
"""(tool name, "parameters" or "result", value) → the value to store.

`value` is a copy of plain JSON values, in which secrets are redacted already; of a large one, its beginning. A hook may
change it in place and need not know the tool's classes.
"""


class Redacted(str):
    """The JSON of parameters in which something was redacted. It is a plain `str` when it is stored.

    Attributes:
        secrets: the texts that were redacted, to be removed from the error of the same call too.
    """

    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Payloads:
    """How parameters, results and errors are stored.

    Attributes:
        keep: False stores no parameters and no results.
        max_bytes: the largest JSON stored whole; of a larger one, its beginning is stored.
        redact: called before each write. If it raises, the value is left out and the error's type is stored.
        redaction: which names and texts are secrets.
    """

    keep: bool = True
    max_bytes: int = 16_384
    redact: Redact | None = None
    redaction: Redaction = DEFAULT
    _plain: bool = field(init=False)
    _known: set[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plain", self.keep and self.redact is None and not self.redaction.patterned)
        object.__setattr__(self, "_known", self.redaction.known_names)

    def encode(self, tool_name: str, what: str, value: Any, left_out: Iterable[Any] = ()) -> str | None:
        """Return `value` as JSON text in ASCII, or None if there is nothing to store. Raise nothing, change nothing.

        Args:
            left_out: values beside it that are not stored, and may not be in the error of the same call either.
        """
        kind = type(value)
        if kind is dict and len(value) <= _FEW and not left_out:
            now = value.copy()  # in one step: a thread may change it meanwhile
            if self.is_simple(now) and len(whole := written(now)) <= self.max_bytes:
                return whole
        elif self._plain and not left_out and (kind is bool or (kind is int and -_LARGEST < value < _LARGEST)):
            return written(value)
        copy = _Copy(self.redaction, self.max_bytes)
        for hidden in left_out:
            copy.hide(hidden)
        text = None if value is None else self._text(tool_name, what, value, copy)
        if not copy.secrets or what != "parameters":
            return text
        redacted = Redacted(text or "")
        redacted.secrets = tuple(copy.secrets)
        return redacted

    def encode_each(self, tool_names: Sequence[str], what: str, values: Sequence[Any]) -> list[str | None]:
        """Return each of some values as `encode` does, each with the name of its tool."""
        given = [value for value in values if value is not None]
        if (texts := self._together(given)) is not None:
            each = iter(texts)
            return [None if value is None else next(each) for value in values]
        return [
            None if value is None else self.encode(tool_name, what, value)
            for tool_name, value in zip(tool_names, values, strict=True)
        ]

    def _together(self, values: list[Any]) -> list[str] | None:
        """Return the JSON of values that are all simple (see `is_simple`), or None if one is not."""
        if not self._plain or set(map(type, values)) != {dict}:
            return None
        now: list[dict[str, Any]] = list(map(dict.copy, values))
        if max(map(len, now)) > _FEW or not self._known.issuperset(chain.from_iterable(now)):
            return None
        items = list(chain.from_iterable(map(dict.values, now)))
        if not _SIMPLE.union(_NUMBERS, {str}).issuperset(map(type, items)):
            return None
        if sum([len(item) for item in items if type(item) is str]) > self.max_bytes * len(now):
            return None
        if [item for item in items if type(item) in _NUMBERS and not -_LARGEST < item < _LARGEST]:
            return None
        texts = written_each(now)
        return texts if max(map(len, texts)) <= self.max_bytes else None

    def is_simple(self, parameters: dict[str, Any]) -> bool:
        """Return whether parameters are few and short, hold no secret, and nobody can change their values.

        Most are so. They can be written later, and without a copy.
        """
        if not self._plain or len(parameters) > _FEW or not self._known.issuperset(parameters):
            return False
        room = self.max_bytes
        for item in parameters.values():
            kind = type(item)
            if kind is str:
                room -= len(item)
            elif kind is int or kind is float:
                if not -_LARGEST < item < _LARGEST:  # it may be NaN, or have any number of digits
                    return False
            elif kind not in _SIMPLE:
                return False
        return room >= 0

    def error(self, text: str, parameters: object = None) -> str:
        """Return the text of a call's error without secrets, among them those redacted in its parameters."""
        secrets = parameters.secrets if isinstance(parameters, Redacted) else ()
        return self.redaction.text(text, secrets)

    def _text(self, tool_name: str, what: str, value: Any, copy: _Copy) -> str | None:
        plain_value = copy.of(value)
        if not self.keep:
            return None
        if self.redact is not None:
            try:
                plain_value = self.redact(tool_name, what, plain_value)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's hook; its error must not leak the value
                # The message may contain the value, so only the type is stored.
                kind = type(error).__name__
                logger.warning("redaction of %s of %s failed with %s, so it is left out", what, tool_name, kind)
                return json.dumps({"redaction_failed": kind})
            if plain_value is None:
                return None
            again = _Copy(self.redaction, self.max_bytes)
            plain_value, copy.room = again.of(plain_value), min(copy.room, again.room)
        text = written(plain_value)
        if copy.room >= 0 and len(text) <= self.max_bytes:
            return text
        return _beginning(text, self.max_bytes)


def _beginning(text: str, max_bytes: int) -> str:
    """Return a JSON object of at most `max_bytes` with as much of `text` as fits (at least an empty beginning)."""
    room = max(0, max_bytes - _FRAMED)
    inside = text[:room].replace("\\", "\\\\").replace('"', '\\"')[:room]  # a quote in the text takes two bytes
    if (len(inside) - len(inside.rstrip("\\"))) % 2:
        inside = inside[:-1]
    return _FRAME % f'"{inside}"'


# --- any value as plain JSON values ----------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a copy of any `value` that is made of dicts, lists, strings, finite numbers, booleans and None."""
    return _Copy(Redaction(defaults=False), _UNLIMITED).of(value)


class _Copy:
    """Copies one value as plain JSON values, without its secrets, until the room for its JSON is used up.

    Attributes:
        room: bytes that are left; below 0, the copy is cut short. Never less is left than the JSON leaves.
        secrets: the texts that were redacted.
    """

    __slots__ = ("_known", "_open", "_redaction", "room", "secrets")

    def __init__(self, redaction: Redaction, room: int) -> None:
        self._redaction, self._known, self.room = redaction, redaction.known_names, room
        self._open: list[int] = []  # the ids of the values that contain the present one
        self.secrets: list[str] = []

    def of(self, value: Any) -> Any:
        """Return the copy of a value. Raise nothing."""
        kind = type(value)
        if kind is str:
            return self._string(value)
        if kind is dict or kind is list or kind is tuple:
            return self._container(value, kind)
        if value is None or kind is bool:
            self.room -= 4
            return value
        try:
            if isinstance(value, str | int | float):
                return self._scalar(value)
            return self._container(value, kind)
        except (Exception, SystemExit):  # noqa: BLE001 - a tool's own class may raise anything
            return self._described(value)

    def hide(self, value: Any, depth: int = 0) -> None:
        """Remember the texts of what is not stored, to find them in the error of the call."""
        kind = type(value)
        if len(self.secrets) >= _MOST_SECRETS or depth > _SECRETS_DEPTH:
            return
        if issubclass(kind, str):
            self.secrets.append(str.__str__(value))
        elif kind is bytes:
            self.secrets.append(value.decode("utf-8", "replace"))
        elif kind is dict or kind is list or kind is tuple:
            for item in list(islice(value.values() if kind is dict else value, _MOST_SECRETS)):
                self.hide(item, depth + 1)

    def _container(self, value: Any, kind: type) -> Any:
        """Copy a value that holds others, or is converted by one level first."""
        if id(value) in self._open or len(self._open) >= MAX_DEPTH:
            return self._string("<circular>" if id(value) in self._open else _TOO_DEEP)
        self._open.append(id(value))
        try:
            if kind is dict or isinstance(value, dict):
                some = value.items() if len(value) <= _FEW else islice(value.items(), self._most(value))
                return self._mapping(list(some))
            if isinstance(value, list | tuple | deque):
                return self._items(islice(value, self._most(value)))
            return self._other(value)
        except (Exception, SystemExit):  # noqa: BLE001 - as above; also a container that a thread changes
            return self._described(value)
        finally:
            self._open.pop()

    def _most(self, value: Any) -> int:
        """Return how many items of a container may fit; each takes two bytes at least."""
        return min(len(value), max(self.room, 0) // 2 + 2)

    def _mapping(self, items: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        self.room -= 1
        copied: dict[str, Any] = {}
        known, any_text = self._known, not self._redaction.patterned
        for key, item in items:
            if self.room < 0:
                break
            name = key if type(key) is str else _key(key)
            self.room -= len(name) + 4
            if name not in known and self._hides(name, item):
                copied[name] = self._string(REDACTED)
            elif any_text and type(item) is str and len(item) < self.room:
                self.room -= len(item) + 2
                copied[name] = item
            else:
                copied[name] = self.of(item)
        return copied

    def _items(self, items: Iterable[Any]) -> list[Any]:
        self.room -= 1
        copied = []
        for item in items:
            if self.room < 0:
                break
            self.room -= 1
            copied.append(self.of(item))
        return copied

    def _hides(self, name: str, item: Any) -> bool:
        """Return whether an item is a secret by its name; None and a flag are none."""
        if item is None or type(item) is bool or not self._redaction.hides(name):
            return False
        self.hide(item)
        return True

    def _string(self, text: str) -> str:
        if self._redaction.patterned:
            text = self._redaction.value(text[: max(self.room, 0) + 1])
        room = self.room
        self.room = room - len(text) - 2
        return text if self.room >= 0 else text[: max(room, 0) + 1]

    def _scalar(self, value: Any) -> Any:
        """Copy a number, or a text of a class of its own."""
        self.room -= 1
        if isinstance(value, str):
            return self._string(str.__str__(value))
        if isinstance(value, float):
            return float.__pos__(value) if math.isfinite(value) else _NOT_FINITE[float.__repr__(value)]
        try:
            self.room -= len(int.__repr__(value)) - 1
        except ValueError:  # more digits than Python writes in decimal
            return self._string(hex(value))
        return int.__pos__(value)

    def _other(self, value: Any) -> Any:
        """Copy a value that JSON cannot hold. Iterators are not consumed: the caller needs them."""
        if isinstance(value, BaseModel):
            return self._model(value)
        if is_dataclass(value) and not isinstance(value, type):
            return self._mapping((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value))
        if isinstance(value, Mapping):
            return self._mapping((key, value[key]) for key in islice(value, self._most(value)))
        if isinstance(value, Set):
            return self._items(islice(value, self._most(value)))
        nearer = _nearer(value, max(self.room, 0) + 3)
        return self._described(value) if nearer is None else self.of(nearer)

    def _model(self, value: BaseModel) -> Any:
        """Copy a pydantic model. Fields that it excludes or masks stay hidden."""
        names = _fields_of(type(value))
        if names is None:
            return self.of(value.model_dump(warnings=False))
        extra = value.__pydantic_extra__ or {}
        return self._mapping([*((name, getattr(value, name, None)) for name in names), *extra.items()])

    def _described(self, value: Any) -> str:
        """Return the kind of a value that has no JSON. Its `repr` could be long, and hold secrets."""
        return self._string(f"<{type(value).__qualname__}>")


def _nearer(value: Any, room: int) -> Any:
    """Return a simple value in a form that JSON has, or None; of bytes, as many as fit."""
    if isinstance(value, bytes | bytearray | memoryview):
        return to_jsonable_python(bytes(value[:room]), bytes_mode="base64")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Iterator | type):
        return None
    if isinstance(value, numbers.Integral | numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    nearer = to_jsonable_python(value, inf_nan_mode="strings", bytes_mode="base64", fallback=lambda _value: None)
    return nearer if isinstance(nearer, str | int | float | bool) else None


@functools.lru_cache(maxsize=1_024)
def _fields_of(model: type[BaseModel]) -> tuple[str, ...] | None:
    """Return the fields of a model class that are stored, or None if only the model itself knows its form."""
    decorators = model.__pydantic_decorators__
    own = decorators.field_serializers or decorators.model_serializers or model.model_computed_fields
    if own or model.__pydantic_root_model__ or model.model_config.get("serialize_by_alias"):
        return None
    if "'serialization'" in repr(model.__pydantic_core_schema__):
        return None
    fields = model.model_fields
    if any(getattr(one, "exclude_if", None) is not None for one in fields.values()):
        return None
    return tuple(name for name, one in fields.items() if not one.exclude)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    nearer = plain(key)
    return nearer if isinstance(nearer, str) else json.dumps(nearer)


def clean_text(text: str, limit: int = 8_192) -> str:
    """Return text that every database takes: no NUL, no lone surrogate, at most `limit` characters."""
    if not text.isascii() or "\x00" in text:
        text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
