"""Give an agent framework a tool as a function with the tool's own signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from rollguard.record.instrument import by_name
from rollguard.registry.serve.json_schema import definition_of
from rollguard.registry.serve.loader import LoadedTool


def live_function(
    tool: LoadedTool, call: Callable[..., Any], acall: Callable[..., Awaitable[Any]]
) -> Callable[..., Any]:
    """Return a function that calls the live version of `tool`, with the name, signature and docstring of `tool`.

    Frameworks describe it to the model as they describe any function. What they describe stays as it is when another
    version goes live; create the function again to describe that one. The function is async if the tool is.

    Args:
        tool: what the function looks like.
        call, acall: the registry's methods of these names.

    Raises:
        ToolLoadError: the tool has no docstring, and its own definition fails.
    """
    named = by_name(tool.function)
    live: Callable[..., Any]
    if tool.is_async:

        async def live(*args: Any, **parameters: Any) -> Any:
            return await acall(tool.name, **named(args, parameters))

    else:

        def live(*args: Any, **parameters: Any) -> Any:
            return call(tool.name, **named(args, parameters))

    functools.update_wrapper(live, tool.function)
    live.__name__ = live.__qualname__ = tool.name
    live.__doc__ = tool.description or inspect.getdoc(tool.function)
    if live.__doc__ is None and tool.definition is not None:
        live.__doc__ = definition_of(tool).get("description")
    return live
