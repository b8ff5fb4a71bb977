"""The model of an interface: functions with their parameters, and changes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Schema = Mapping[str, Any]
"""JSON Schema, with `{"python": "numpy.ndarray"}` for a type that JSON Schema does not have."""


class ParameterKind(StrEnum):
    """The kind of a parameter, as in `inspect.Parameter`."""

    POSITIONAL_ONLY = "positional-only"
    EITHER = "positional or keyword"
    KEYWORD_ONLY = "keyword-only"
    VAR_POSITIONAL = "*"
    VAR_KEYWORD = "**"


BY_POSITION = (ParameterKind.POSITIONAL_ONLY, ParameterKind.EITHER)
VARIADIC = (ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        required: whether a call must give it.
        schema: the schema of its annotation, with a literal `Field`; None without an annotation.
        annotation, default: their source, in a canonical form.
    """

    name: str
    kind: ParameterKind
    required: bool
    schema: Schema | None = None
    annotation: str | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or a method as `Class.method` without its `self`.

    Attributes:
        result: the schema of its result; None without an annotation.
        body: its code without name and docstring; equal for two functions that do the same.
    """

    name: str
    parameters: tuple[Parameter, ...]
    is_async: bool = False
    result: Schema | None = None
    result_annotation: str | None = None
    body: str = field(default="", repr=False)

    def taking(self, kind: ParameterKind) -> Parameter | None:
        """Return the first parameter of that kind, or None."""
        return next((p for p in self.parameters if p.kind is kind), None)


@dataclass(frozen=True, slots=True)
class Interface:
    """The public interface of a file.

    Attributes:
        tool: the function that a call of the tool runs; None if the source does not show it.
        definition: the parameters' schema that a tool class returns from `get_tool_definition`, if it is literal.
        functions: the public functions and methods by name, including the tool's own.
        classes: the public classes, each with its code without its name.
        opaque: the whole syntax tree, if the source does not show the tool's parameters: the tool is imported, or the
            result of a call. Else None.
    """

    tool: Function | None = None
    definition: Schema | None = None
    functions: Mapping[str, Function] = field(default_factory=dict)
    classes: Mapping[str, str] = field(default_factory=dict)
    opaque: str | None = field(default=None, repr=False)


class ChangeKind(StrEnum):
    """The kinds of changes."""

    UNREADABLE = "unreadable"
    TOOL_REMOVED = "tool_removed"
    FUNCTION_ADDED = "function_added"
    FUNCTION_REMOVED = "function_removed"
    FUNCTION_RENAMED = "function_renamed"
    FUNCTION_MADE_ASYNC = "function_made_async"
    FUNCTION_MADE_SYNC = "function_made_sync"
    CLASS_ADDED = "class_added"
    CLASS_REMOVED = "class_removed"
    CLASS_RENAMED = "class_renamed"
    PARAMETER_ADDED = "parameter_added"
    PARAMETER_REMOVED = "parameter_removed"
    PARAMETER_RENAMED = "parameter_renamed"
    PARAMETER_MADE_REQUIRED = "parameter_made_required"
    PARAMETER_MADE_OPTIONAL = "parameter_made_optional"
    PARAMETER_RETYPED = "parameter_retyped"
    PARAMETER_NARROWED = "parameter_narrowed"
    PARAMETER_WIDENED = "parameter_widened"
    PARAMETER_KIND_CHANGED = "parameter_kind_changed"
    PARAMETERS_REORDERED = "parameters_reordered"
    DEFAULT_CHANGED = "default_changed"
    RESULT_RETYPED = "result_retyped"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions that a caller may notice.

    Attributes:
        kind: what changed.
        function: the function that changed; None for the file as a whole.
        parameter: the parameter that changed, if it is one.
        sentence: the change as a sentence.
        breaking: whether a call that was valid before may now fail or mean something else.
    """

    kind: ChangeKind
    function: str | None
    parameter: str | None
    sentence: str
    breaking: bool

    def __str__(self) -> str:
        return self.sentence
