"""Make spans of OpenTelemetry of what Rollguard does. It is off, and imports nothing, until `enable` is called.

Their attributes are names, numbers and states: never what a call was given, what it returned, or an error's text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rollguard.errors import InvalidSetting

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

Value = str | int | float | bool | None
Note = Callable[..., None]
"""Adds attributes to a span: those that are None are left out."""

_tracer: Tracer | None = None


def enable(version: str, provider: TracerProvider | None = None) -> None:
    """Make spans from now on in this process.

    Args:
        version: Rollguard's.
        provider: what makes them; by default the one that the program has set up, or sets up later.

    Raises:
        InvalidSetting: the API of OpenTelemetry is not installed.
    """
    global _tracer  # noqa: PLW0603 - as OpenTelemetry's own provider, it is one for the process
    try:
        from opentelemetry import trace
    except ModuleNotFoundError as error:
        said = "this needs the API of OpenTelemetry: pip install 'rollguard[otel]'"
        raise InvalidSetting("otlp.own_spans", said) from error
    _tracer = trace.get_tracer("rollguard", version, tracer_provider=provider)


@contextlib.contextmanager
def span(name: str, **attributes: Value) -> Iterator[Note]:
    """Make a span of a block, and return what adds attributes to it. An exception is its status, by its type alone.

    Args:
        name: what is done; the span's name is this after `rollguard.`.
        attributes: by their names after `rollguard.`; `tool_name` is `gen_ai.tool.name`, as the conventions have it.
    """
    if _tracer is None:
        yield _nothing
        return
    with _tracer.start_as_current_span(
        f"rollguard.{name}", record_exception=False, set_status_on_exception=False
    ) as made:
        _note(made, attributes)
        try:
            yield lambda **more: _note(made, more)
        except BaseException as error:
            from opentelemetry.trace import StatusCode

            made.set_attribute("error.type", type(error).__qualname__)
            made.set_status(StatusCode.ERROR)
            raise


def _nothing(**_attributes: Value) -> None:
    pass


def _note(made: Span, attributes: dict[str, Value]) -> None:
    for name, value in attributes.items():
        if value is not None:
            made.set_attribute("gen_ai.tool.name" if name == "tool_name" else f"rollguard.{name}", value)
