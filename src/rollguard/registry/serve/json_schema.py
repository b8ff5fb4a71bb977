"""Describe a tool for a model: its name, its description and the JSON Schema of its parameters.

A parameter that a framework gives the tool, or that has no JSON, is left out; see `rollguard.record.injected`.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Mapping
from typing import Any, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticSerializationError

from rollguard.errors import ToolLoadError
from rollguard.model.log import logger_of
from rollguard.record.injected import injected_into
from rollguard.registry.serve.loader import LoadedTool
from rollguard.sandbox.tool_file import describe

logger = logger_of(__name__)

_STYLES: Any = {style: {"warnings": False} for style in ("google", "numpy", "sphinx")}
_ANYTHING = ConfigDict(arbitrary_types_allowed=True)


class _Lenient(GenerateJsonSchema):
    """Accepts any value for a parameter whose type JSON cannot describe; the others keep their schemas."""

    # Defaults that JSON cannot represent are left out.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base class

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}

    def encode_default(self, dft: Any) -> Any:
        encoded = super().encode_default(dft)
        try:
            json.dumps(encoded, allow_nan=False)
        except ValueError as error:
            raise PydanticSerializationError(str(error)) from error
        return encoded


def definition_of(tool: LoadedTool) -> dict[str, Any]:
    """Return `{"name", "description", "parameters"}`, or the definition of a tool class unchanged.

    Raises:
        ToolLoadError: the signature cannot be described, or the class's own definition fails or is no mapping.
    """
    from griffe import Docstring, DocstringSectionParameters, DocstringSectionText, parse_auto

    if tool.definition is not None:
        return _own_definition(tool.name, tool.definition)
    documented = parse_auto(Docstring(inspect.getdoc(tool.function) or ""), per_style_options=_STYLES)
    try:
        schema = _parameters(tool.function)
    except Exception as error:  # an annotation's own code may raise anything
        raise ToolLoadError(f"{tool.name}: its parameters cannot be described: {describe(error)}") from error
    for section in documented:
        for parameter in section.value if isinstance(section, DocstringSectionParameters) else ():
            if parameter.name in schema["properties"] and parameter.description:
                schema["properties"][parameter.name].setdefault("description", parameter.description)
    description = tool.description or "\n\n".join(s.value for s in documented if isinstance(s, DocstringSectionText))
    return {"name": tool.name, "description": description, "parameters": schema}


def definitions_of(tools: Mapping[str, LoadedTool]) -> list[dict[str, Any]]:
    """Return the definition of each tool. A definition that fails is logged and omitted."""
    definitions = []
    for name, tool in tools.items():
        try:
            definitions.append(definition_of(tool))
        except ToolLoadError as error:
            logger.error("%s is left out of the definitions: %s", name, error)
    return definitions


def _own_definition(name: str, ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        definition = ask()
    except (Exception, SystemExit) as error:
        raise ToolLoadError(f"{name}: get_tool_definition failed: {describe(error)}") from error
    if not isinstance(definition, dict):
        raise ToolLoadError(f"{name}: get_tool_definition returned {type(definition).__name__}, not a dict")
    return definition


def parameters_of(function: Callable[..., Any]) -> TypeAdapter[dict[str, Any]]:
    """Return what describes and checks the parameters of a function, all by keyword, as models give them."""

    def stand_in(**given: Any) -> dict[str, Any]:
        return given

    injected = injected_into(function).names
    kept = [
        p if p.kind is inspect.Parameter.VAR_KEYWORD else p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
        if p.kind is not inspect.Parameter.VAR_POSITIONAL and p.name not in injected
    ]
    hints = _hints(function, kept)
    stand_in.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(annotation=hints.get(p.name, p.annotation)) for p in kept]
    )
    stand_in.__annotations__ = hints
    return TypeAdapter(cast("type[dict[str, Any]]", stand_in), config=_ANYTHING)


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    schema = parameters_of(function).json_schema(schema_generator=_Lenient)
    for described in schema.setdefault("properties", {}).values():
        described.pop("title", None)
    return schema


def _hints(function: Callable[..., Any], kept: list[inspect.Parameter]) -> dict[str, Any]:
    """Return the types of the parameters. The result's annotation is not evaluated: it need not exist at run time."""
    annotated = types.SimpleNamespace(
        __annotations__={p.name: p.annotation for p in kept if p.annotation is not inspect.Parameter.empty}
    )
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return get_type_hints(annotated, scope, include_extras=True)
