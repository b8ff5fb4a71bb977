"""What a model is told of a tool: its name, its description and the JSON Schema of its parameters."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, cast

import docstring_parser
from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, PydanticJsonSchemaWarning
from pydantic_core import CoreSchema

from rollguard.errors import ToolLoadError
from rollguard.registry.source import LoadedTool

_ANYTHING = ConfigDict(arbitrary_types_allowed=True)


class _Lenient(GenerateJsonSchema):
    """A parameter of a type that JSON cannot describe may be anything; the others keep their schemas."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}


def definition_of(tool: LoadedTool) -> dict[str, Any]:
    """`{"name", "description", "parameters"}`; what a tool class says of itself is returned as it is.

    Raises:
        ToolLoadError: the signature cannot be described, or the class's own definition fails or is no mapping.
    """
    if tool.definition is not None:
        return _own_definition(tool.name, tool.definition)
    documented = docstring_parser.parse(inspect.getdoc(tool.function) or "")
    schema = _parameters(tool.name, tool.function)
    for parameter in documented.params:
        described = schema.get("properties", {}).get(parameter.arg_name)
        if described is not None and parameter.description:
            described.setdefault("description", parameter.description)
    description = tool.description or "\n\n".join(
        part for part in (documented.short_description, documented.long_description) if part
    )
    return {"name": tool.name, "description": description, "parameters": schema}


def _own_definition(name: str, ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        definition = ask()
    except Exception as error:
        raise ToolLoadError(f"{name}: get_tool_definition failed: {type(error).__name__}: {error}") from error
    if not isinstance(definition, dict):
        raise ToolLoadError(f"{name}: get_tool_definition returned {type(definition).__name__}, not a dict")
    return definition


def _parameters(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    def stand_in() -> None: ...

    signature = inspect.signature(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    kept = [
        p if p.kind is inspect.Parameter.VAR_KEYWORD else p.replace(kind=keyword)
        for p in signature.parameters.values()
        if p.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    try:
        hints = inspect.get_annotations(function, eval_str=True)
    except Exception as error:
        raise ToolLoadError(f"{name}: its annotations cannot be read: {type(error).__name__}: {error}") from error
    # Models call tools by keyword, so that is what is described, however the function takes its arguments.
    stand_in.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(annotation=hints.get(p.name, p.annotation)) for p in kept],
        return_annotation=inspect.Signature.empty,
    )
    stand_in.__annotations__ = {p.name: hints[p.name] for p in kept if p.name in hints}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PydanticJsonSchemaWarning)  # a default that JSON cannot write is left out
            adapter: TypeAdapter[Any] = TypeAdapter(cast("type[Any]", stand_in), config=_ANYTHING)
            schema = adapter.json_schema(schema_generator=_Lenient)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ToolLoadError(f"{name}: its parameters cannot be described: {error}") from error
    schema.setdefault("properties", {})
    for described in schema["properties"].values():
        described.pop("title", None)
    return schema
