"""Parameters and results as JSON: any value, up to a size limit, redacted first or left out altogether."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

logger = logging.getLogger(__name__)

Redact = Callable[[str, str, Any], Any]
"""(tool name, "parameters" or "result", value) → the value to keep."""


@dataclass(frozen=True, slots=True)
class Payloads:
    """How parameters and results are kept.

    Attributes:
        keep: False keeps none of them.
        max_bytes: the largest JSON kept whole; of a larger one its beginning and its size are kept.
        redact: called before anything is encoded; should it raise, the value is left out and the error kept instead.
    """

    keep: bool = True
    max_bytes: int = 16_384
    redact: Redact | None = None

    def encode(self, tool_name: str, what: str, value: Any) -> str | None:
        """`value` as JSON text, or None when there is nothing to keep."""
        if not self.keep or value is None:
            return None
        if self.redact is not None:
            try:
                value = self.redact(tool_name, what, value)
            except Exception as error:  # noqa: BLE001 - a hook of the user's: a fault in it must not leak the value
                logger.warning("redaction of %s of %s failed, so it is left out: %r", what, tool_name, error)
                return json.dumps({"redaction_failed": repr(error)})
        text = _json(value)
        size = len(text.encode())
        if size <= self.max_bytes:
            return text
        return json.dumps({"truncated": True, "bytes": size, "beginning": text[: self.max_bytes // 2]})


def _json(value: Any) -> str:
    try:
        # Lone surrogates and NULs are legal in Python strings but not in PostgreSQL's text: ASCII escapes carry them.
        return to_json(value, inf_nan_mode="strings", bytes_mode="base64", fallback=repr, ensure_ascii=True).decode()
    except (PydanticSerializationError, ValueError, RecursionError, UnicodeError):
        return json.dumps(_safe_repr(value))


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a tool's own class may fail to describe itself
        return f"<{type(value).__name__}: repr failed with {error!r}>"


def clean_text(text: str, limit: int = 8_192) -> str:
    """Text that every database takes: no NUL, no lone surrogate, at most `limit` characters."""
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
