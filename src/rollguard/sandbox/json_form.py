"""Write a result as JSON, in the form in which a call's result is recorded. Imports no other package."""

from __future__ import annotations

from json import dumps  # the tool may change the module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_DEPTH = 100
_MAX_VALUES = 10_000  # whose classes are looked at
_PLAIN = (dict, list, str, int, float, bool, type(None))
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def json_of(value: Any) -> str:
    """Return a value as JSON on one line. What has no form in JSON is the name of its class, as `"<Socket>"`."""
    try:
        return dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001 - a value of the tool's own may raise anything
        return dumps(_plain(value, 0))


def kinds_of(value: Any) -> set[str]:
    """Return the names of the classes in a value that JSON does not know, of its first values."""
    found, left = set(), [value]
    for _ in range(_MAX_VALUES):
        if not left:
            break
        item = left.pop()
        kind = type(item)
        if kind not in _PLAIN:
            found.add(kind.__qualname__)
        if isinstance(item, dict):
            left.extend(dict.values(item))
        elif isinstance(item, list | tuple):
            left.extend(kind.__iter__(item) if kind in (list, tuple) else ())
    return found


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return _NOT_FINITE.get(repr(value), value)
    if depth >= _MAX_DEPTH:
        return f"<deeper than {_MAX_DEPTH} levels>"
    try:
        return _converted(value, depth + 1)
    except (Exception, SystemExit):  # noqa: BLE001 - as above
        return f"<{type(value).__qualname__}>"


def _converted(value: Any, depth: int) -> Any:
    """Return what a value holds, in the forms that JSON has."""
    kind = type(value)
    if hasattr(kind, "__members__"):  # an enum
        return _plain(value.value, depth)
    if isinstance(value, dict):
        return {str(getattr(key, "value", key)): _plain(item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth) for item in value]
    if hasattr(kind, "model_fields") and hasattr(kind, "model_dump"):  # a model of pydantic
        return value.model_dump(mode="json", warnings=False)
    if hasattr(kind, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name, None), depth) for name in kind.__dataclass_fields__}
    return _simple(value, kind)


def _simple(value: Any, kind: type) -> Any:
    """Return the text or the number that a value without parts is written as."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return base64.urlsafe_b64encode(bytes(value)).decode()
    if callable(getattr(value, "isoformat", None)):
        text = str(value.isoformat())
        return f"{text[:-6]}Z" if text.endswith("+00:00") else text
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    if kind.__name__ in ("Decimal", "UUID", "PosixPath"):
        return str(value)
    return f"<{kind.__qualname__}>"
