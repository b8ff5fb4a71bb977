"""Find the parameters that a framework gives a tool beside the model's: contexts, callbacks, dependencies.

A model cannot give what has no JSON, so such a parameter is not described to it, and its value is not recorded. No
framework is imported: classes are recognised by their names and packages.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints, is_typeddict

# What some of them declare could be written as JSON, but it is the framework's all the same.
_CLASSES = {
    "autogen_core": {"CancellationToken"},
    "agents": {"RunContextWrapper", "ToolContext"},
    "docket": {"Dependency", "Depends", "Progress"},
    "fast_depends": {"Depends"},
    "fastapi": {"BackgroundTasks", "Depends", "Request", "Response", "Security", "SecurityScopes", "WebSocket"},
    "fastmcp": {"Context", "Dependency", "Depends", "Progress"},
    "google": {"CallbackContext", "InvocationContext", "ToolContext"},
    "langchain": {"ToolRuntime"},
    "langchain_core": {
        "AsyncCallbackManagerForToolRun",
        "BaseCallbackHandler",
        "BaseCallbackManager",
        "CallbackManagerForToolRun",
        "InjectedToolArg",
        "InjectedToolCallId",
        "RunnableConfig",
        "ToolRuntime",
    },
    "langgraph": {"BaseStore", "InjectedState", "InjectedStore", "Runtime", "ToolRuntime"},
    "llama_index": {"Context"},
    "mcp": {"Context"},
    "pydantic_ai": {"RunContext"},
    "starlette": {"BackgroundTasks", "HTTPConnection", "Request", "Response", "WebSocket"},
    "strands": {"ToolContext"},
    "workflows": {"Context"},
}
_BY_NAME = frozenset().union(*_CLASSES.values()) - {"Context", "Request", "Response", "Runtime", "Progress"}
_QUOTED = re.compile(r"(?:\w+\.)*(\w+)(?:\[.*\])?", re.DOTALL)

# Modules of the standard library whose classes have a form in JSON.
_PLAIN_MODULES = frozenset(
    [
        "builtins",
        "collections",
        "collections.abc",
        "datetime",
        "decimal",
        "fractions",
        "ipaddress",
        "numbers",
        "pathlib",
        "re",
        "typing",
        "uuid",
    ]
)
_NEVER = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType)


class Injected(typing.NamedTuple):
    """What the annotations of a function tell about its parameters.

    Attributes:
        names: those that a framework gives, or that have no JSON.
        described: those that an annotation says the form of.
    """

    names: frozenset[str] = frozenset()
    described: frozenset[str] = frozenset()


def injected_into(function: Callable[..., Any]) -> Injected:
    """Return what the annotations and defaults of a function's parameters tell. Raise nothing."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return Injected()
    names, described = set(), set()
    for parameter in parameters:
        annotation = _resolved(function, parameter)
        try:
            injected = is_framework(_class_of(parameter.default)) or _is_injected(annotation)
        except Exception:  # noqa: BLE001 - a class of a metaclass of the tool's own
            injected = True
        if injected:
            names.add(parameter.name)
        elif parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        elif not _is_open(annotation):
            described.add(parameter.name)
    return Injected(frozenset(names), frozenset(described))


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return a parameter's annotation, or its text if a name in it exists for type checkers only."""
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    annotated = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return get_type_hints(annotated, scope, include_extras=True)[parameter.name]
    except Exception:  # noqa: BLE001 - an annotation is the tool's own code
        return parameter.annotation


def _is_open(annotation: Any) -> bool:
    """Return whether an annotation says nothing about the value's form. The text of one that is not there says some."""
    return annotation in (Any, object) or isinstance(annotation, TypeVar)


def _is_injected(annotation: Any) -> bool:
    if isinstance(annotation, str):
        text = annotation.partition("|")[0].strip().strip("'\"")
        match = _QUOTED.fullmatch(text)
        return match is not None and match[1] in _BY_NAME
    if get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        return any(is_framework(_class_of(one)) for one in metadata) or (
            not _has_schema(metadata) and _is_injected(base)
        )
    if get_origin(annotation) in (typing.Union, types.UnionType):
        options = [one for one in get_args(annotation) if one is not type(None)]
        return bool(options) and all(map(_is_injected, options))
    annotation = getattr(annotation, "__value__", annotation)  # of `type X = ...`
    kind: Any = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return False
    inside = get_args(annotation) if kind.__module__ in _PLAIN_MODULES else ()
    return not has_json(kind) or any(map(_is_injected, inside))


def _class_of(mark: Any) -> Any:
    return mark if isinstance(mark, type) else type(mark)


def _has_schema(metadata: list[Any]) -> bool:
    """Return whether pydantic learns the form of a value from what stands beside its type."""
    return any(
        hasattr(one, "__get_pydantic_core_schema__") or hasattr(one, "__prepare_pydantic_annotations__")
        for one in metadata
    )


@lru_cache(maxsize=1_024)
def is_framework(kind: Hashable) -> bool:
    """Return whether a class is one that a framework gives tools."""
    return any(
        one.__name__ in _CLASSES.get(str(one.__module__).partition(".")[0], ()) for one in getattr(kind, "__mro__", ())
    )


@lru_cache(maxsize=1_024)
def has_json(kind: Any) -> bool:
    """Return whether values of a class have a form in JSON that a model could give, and no framework does."""
    if is_framework(kind):
        return False
    if kind.__name__ == "Callable" or issubclass(kind, _NEVER):
        return False
    if kind.__module__ in _PLAIN_MODULES or is_typeddict(kind) or dataclasses.is_dataclass(kind):
        return kind is not type
    if hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__get_validators__"):
        return True
    return issubclass(kind, str | int | float | bytes | dict | list | tuple | set | frozenset | enum.Enum)


@lru_cache(maxsize=4_096)
def is_data(kind: Any) -> bool:
    """Return whether a value of a class is recorded although no annotation tells its form."""
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__get_pydantic_core_schema__"):
        return False
    return has_json(kind) or kind.__module__ == "numpy"
