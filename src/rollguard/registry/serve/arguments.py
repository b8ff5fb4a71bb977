"""Check arguments against a tool's parameters, and convert them, before the tool is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ArgsKwargs

from rollguard.errors import InvalidInput
from rollguard.registry.serve.json_schema import definition_of, parameters_of
from rollguard.registry.serve.loader import LoadedTool


def arguments_of(tool: LoadedTool, given: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments for a call, converted to the types of the tool's parameters.

    Args:
        given: values for parameters.
        texts: the same as they were typed. A parameter that takes a text gets its text, though it may be JSON too.

    Raises:
        InvalidInput: a required parameter is missing, one is unknown, or a value is invalid.
        ToolLoadError: the parameters cannot be described.
    """
    described: dict[str, Any] = definition_of(tool).get("parameters") or {}
    properties = described.get("properties") or {}
    wanted = {**given, **{name: text for name, text in texts.items() if _takes_text(properties.get(name), given[name])}}
    missing = [name for name in described.get("required") or () if name not in wanted]
    if missing:
        takes_others = described.get("additionalProperties") is not False
        unknown = [] if takes_others else [name for name in wanted if name not in properties]
        other = f" and has no {', '.join(unknown)}" if unknown else ""
        raise InvalidInput(f"{tool.name} needs {', '.join(missing)}{other}; {_takes(tool.name, properties)}")
    try:
        arguments: dict[str, Any] = parameters_of(tool.function).validate_python(ArgsKwargs((), wanted))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{tool.name}: {where}: {first['msg']}; {_takes(tool.name, properties)}") from None
    except Exception as error:  # a type's own validator may raise anything
        raise InvalidInput(f"{tool.name}: its parameters cannot be checked: {error}") from error
    return {name: value for name, value in arguments.items() if name in wanted}


def _takes_text(described: Mapping[str, Any] | None, value: Any) -> bool:
    """Return whether a parameter takes any text, so that what was typed is meant as it stands."""
    described = described or {}
    kinds = {option.get("type") for option in (described, *described.get("anyOf", ()))}
    return "string" in kinds and not (value is None and "null" in kinds)


def _takes(name: str, properties: Mapping[str, Any]) -> str:
    return f"it takes {', '.join(properties)}" if properties else f"{name} takes no parameters"
