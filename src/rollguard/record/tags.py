"""Tags of the calls inside a `with`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from rollguard.model.tags import tags_text

_tags: ContextVar[str | None] = ContextVar("rollguard_tags", default=None)

current_tags = _tags.get
"""Return the tags of the present calls as JSON, or None."""


def tags(mapping: Mapping[str, Any] | None = None, /, **more: Any) -> AbstractContextManager[None]:
    """Tag the calls inside a `with`, such as `with rollguard.tags(tenant="a"):`.

    Every call that begins inside is recorded with them: calls through a registry, and calls of functions with
    `@tool(store=...)`. They apply to this thread or task, and to what runs in its context; see `rollguard.request`.
    Inside other tags, both apply, and of the same name the inner one.

    Args:
        mapping: tags whose names are no names of Python.
        more: tags by name: texts of at most 255 characters, numbers, True or False. At most 16 tags, and 1,024 bytes.

    Raises:
        InvalidInput: a tag is invalid, or there are too many.
    """
    outer = current_tags()
    return _inside(tags_text({**(json.loads(outer) if outer else {}), **(mapping or {}), **more}))


@contextlib.contextmanager
def _inside(text: str | None) -> Iterator[None]:
    before = _tags.set(text)
    try:
        yield
    finally:
        _tags.reset(before)
