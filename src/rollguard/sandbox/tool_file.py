"""Run the code of a tool's file and find its tool: the one place with these rules. Imports no other package."""

from __future__ import annotations

import sys
import types

TYPE_CHECKING = False  # importing `typing` would double the start of a child
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from rollguard.sandbox.tool_package import Package


class NotATool(Exception):
    """The module holds no tool, or several."""


class Found:
    """The tool of a module.

    Attributes:
        function: what a call runs.
        is_failure: the tool's own check for results that are failures.
        definition: returns the tool's own definition, if it is a class.
        mark: what `@tool` says about it.
    """

    __slots__ = ("definition", "function", "is_failure", "mark")

    def __init__(
        self,
        function: Callable[..., Any],
        is_failure: Callable[[Any], bool | str | None] | None,
        definition: Callable[[], Any] | None = None,
        mark: Any = None,
    ) -> None:
        self.function, self.is_failure, self.definition, self.mark = function, is_failure, definition, mark


def run_module(module_name: str, code: bytes | dict[str, bytes], path: str) -> types.ModuleType:
    """Run the code as a module of that name, from its source. It is in `sys.modules` even if it fails.

    Args:
        code: the file's bytes, or the files of a package.
        path: the file, or the package's folder.
    """
    if isinstance(code, dict):
        return _package_of(module_name, code, path).run()
    module = types.ModuleType(module_name)
    module.__file__, module.__package__ = path, ""
    sys.modules[module_name] = module  # dataclasses and pickle find modules there
    exec(compile(code, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - running tools is the job
    return module


def _package_of(module_name: str, files: dict[str, bytes], folder: str) -> Package:
    if TYPE_CHECKING or __name__ != "tool_file":
        from rollguard.sandbox.tool_package import Package
    else:  # beside the program of a child process, which has imported it
        from tool_package import Package
    return Package(module_name, folder.rpartition("/")[2], files, folder)


def release_module(module_name: str) -> None:
    """Forget a module that ran, and those of its package."""
    module = sys.modules.pop(module_name, None)
    release = getattr(getattr(module, "__loader__", None), "release", None)
    if release is not None:
        release()


def find_tool(module: types.ModuleType, wanted: str, mark_of: Callable[[object], Any]) -> Found:
    """Return the tool: the function marked `@tool`, else the one named like the file, else a class with `execute` and
    `get_tool_definition`. Of several that are marked, it is the one of that name.

    Args:
        module: the module that ran.
        wanted: the name of the function that is the tool, if none is marked.
        mark_of: returns what `@tool` put on a value, or None.

    Raises:
        NotATool: there is none, or there are several.
    """
    own = _own(module)
    marked = [value for value in own if mark_of(value) is not None]
    if len(marked) > 1:
        named = [value for value in marked if value is vars(module).get(wanted)]
        if not named:
            several = ", ".join(map(_name_of, marked))
            raise NotATool(f"{several} are all marked @tool, and none of them is {wanted}")
        marked = named
    found: Any = marked[0] if marked else vars(module).get(wanted)
    if not isinstance(found, type) and callable(found):
        mark = mark_of(found)
        return Found(found, _judge(mark.is_failure) if mark else None, mark=mark)
    classes = [value for value in own if isinstance(value, type) and _is_tool_class(value)]
    if isinstance(found, type) and _is_tool_class(found):
        classes = [found]
    if len(classes) == 1:
        return _instance(classes[0], mark_of(classes[0]))
    if marked:
        raise NotATool(f"{_name_of(found)} is marked @tool but has no execute and get_tool_definition")
    raise NotATool(
        f"{'several tool classes' if classes else 'no tool'} in it; it needs a function named {wanted}, "
        "one marked @tool, or a class with execute and get_tool_definition"
    )


def by_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, wrapped to take positional-only parameters by name."""
    by_position = _positional_only(function)
    if not by_position:
        return function

    def invoke(**parameters: Any) -> Any:
        positional = []
        for parameter in by_position:
            if parameter.name in parameters:
                positional.append(parameters.pop(parameter.name))
            elif parameter.default is not parameter.empty:
                positional.append(parameter.default)
            else:
                break  # the function's own error says what is missing
        return function(*positional, **parameters)

    return invoke


def _positional_only(function: Callable[..., Any]) -> list[Any]:
    plain = isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__")
    if plain and not function.__code__.co_posonlyargcount:
        return []
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return []
    return [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]


def describe(error: BaseException) -> str:
    """Return an exception's type and message, or its type alone if `str` fails on it."""
    try:
        return f"{type(error).__name__}: {error}"
    except (Exception, SystemExit):  # noqa: BLE001 - a tool's own exception
        return type(error).__name__


def _name_of(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _own(module: types.ModuleType) -> list[Any]:
    """Return the functions and classes that the module itself, or its package, defines, each once."""
    inner = f"{module.__name__}."
    own = {
        id(value): value
        for value in vars(module).values()
        # Attributes of other values are not read: some have every attribute, some raise.
        if callable(value) and isinstance(of := getattr(value, "__module__", None), str) and f"{of}.".startswith(inner)
    }
    return list(own.values())


def _is_tool_class(cls: type) -> bool:
    if not (callable(getattr(cls, "execute", None)) and callable(getattr(cls, "get_tool_definition", None))):
        return False
    import inspect

    return not (inspect.isabstract(cls) or getattr(cls, "_is_protocol", False))


def _instance(cls: type, mark: Any) -> Found:
    try:
        instance: Any = cls()
    except Exception as error:
        raise NotATool(f"{cls.__name__}() failed: {describe(error)}") from error
    is_failure = _judge(getattr(instance, "is_failure", None))
    return Found(instance.execute, is_failure, instance.get_tool_definition, mark)


def _judge(is_failure: Any) -> Callable[[Any], bool | str | None] | None:
    if is_failure is None:
        return None
    import inspect

    if not callable(is_failure) or inspect.iscoroutinefunction(is_failure):
        raise NotATool(
            "is_failure is not a plain function of the result; it must return True, False or the error's text"
        )
    checked: Callable[[Any], bool | str | None] = is_failure
    return checked
