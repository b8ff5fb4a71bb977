"""`RetryTransient`: retry errors after which the same input passed, where that is safe. No model is asked."""

from __future__ import annotations

import ast
import builtins
import re

from rollguard.compat.extract import is_tool_class, methods_of, target
from rollguard.compat.marks import is_marked
from rollguard.compat.scope import Definition, Names, parsed
from rollguard.improve.brief import Brief, Recovered
from rollguard.improve.proposal import Proposal

_NAME = "_retried"
_TRIES = 3
_FEWEST = 2  # calls that passed later
_TRANSIENT = re.compile(r"(.*(Timeout|Connect(ion)?)|Read|RemoteProtocol)(Error|Exception)?")
_HELPER = '''

def {name}(function):
    """Call the function again after an error that often passes by itself, at most {tries} times in all."""

    @functools.wraps(function)
    {async_}def calling(*args, **kwargs):
        for tries in range({more}):
            try:
                return {await_}function(*args, **kwargs)
            except {errors}:
                {await_}{sleep}(0.1 * 2**tries)
        return {await_}function(*args, **kwargs)

    return calling

'''


class RetryTransient:
    """Makes a tool call itself again after a transient error, at most three times, with a short pause.

    Its evidence is that the same input passed later with the same version. It proposes nothing unless the tool is
    declared `idempotent` or `read_only`, and only for errors of time and connections.

    Args:
        name: names it in versions and reports.
    """

    def __init__(self, *, name: str = "retry") -> None:
        self.name = name

    def propose(self, brief: Brief) -> Proposal | None:
        """Return the source with retries; None if the evidence is missing, or the tool may not be called again."""
        if not (brief.declared.get("idempotent") or brief.declared.get("read_only")):
            return None
        module = parsed(brief.source)
        names = Names.of(module)
        transient = [one for one in brief.recovered if one.passed_later >= _FEWEST]
        errors = {written: one for one in transient if (written := _reachable(one, names)) is not None}
        definition = _definition(brief.function, names)
        if not errors or definition is None or _NAME in names.functions or _yields(definition):
            return None
        source = _with_retries(brief.source, module, names, definition, sorted(errors))
        if source is None:
            return None
        later = sum(one.passed_later for one in errors.values())
        failures = sum(one.failures for one in errors.values())
        reason = f"retries {', '.join(sorted(errors))}: in {later} of {failures} failures the same input passed later"
        return Proposal(source.encode(), self.name, reason)


def _reachable(error: Recovered, names: Names) -> str | None:
    """Return how the source can name a transient error without a new import; None if it cannot, or is not one."""
    root, dot, rest = error.written.partition(".")
    if dot:
        is_transient = _TRANSIENT.fullmatch(rest.rpartition(".")[2]) is not None
        return error.written if is_transient and names.imports.get(root) == root else None
    found = getattr(builtins, error.written, None)
    is_error = isinstance(found, type) and issubclass(found, ConnectionError | TimeoutError)
    hidden = error.written in (*names.imports, *names.classes, *names.functions, *names.aliases)
    return error.written if is_error and not hidden else None


def _definition(wanted: str, names: Names) -> Definition | None:
    """Return the function that a call of the tool runs."""
    definitions = (*names.functions.values(), *names.classes.values())
    found = next((each for each in definitions if is_marked(each, names)), None) or target(wanted, names)
    if not isinstance(found, Definition | ast.ClassDef):
        found = next((each for each in names.classes.values() if is_tool_class(each, names)), None)
    if isinstance(found, ast.ClassDef):
        method = methods_of(found, names).get("execute")
        return method if method in found.body else None
    return found


def _yields(definition: Definition) -> bool:
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(definition))


def _with_retries(
    source: str, module: ast.Module, names: Names, definition: Definition, errors: list[str]
) -> str | None:
    """Return the source with a decorator, nearest to the function; None if a name that it needs is another thing."""
    is_async = isinstance(definition, ast.AsyncFunctionDef)
    modules = ("functools", "asyncio" if is_async else "time")
    others = (names.aliases, names.classes, names.functions)
    if any(names.imports.get(name, name) != name or any(name in some for some in others) for name in modules):
        return None
    helper = _HELPER.format(
        name=_NAME,
        tries=_TRIES,
        more=_TRIES - 1,
        errors=errors[0] if len(errors) == 1 else f"({', '.join(errors)})",
        sleep=f"{modules[1]}.sleep",
        async_="async " if is_async else "",
        await_="await " if is_async else "",
    )
    imports = "".join(f"import {name}\n" for name in modules if name not in names.imports)
    lines = source.splitlines(keepends=True)
    end = "\r\n" if lines[0].endswith("\r\n") else "\n"
    lines.insert(definition.lineno - 1, f"{' ' * definition.col_offset}@{_NAME}{end}")
    place = _end_of_imports(module)
    lines.insert(place, f"{imports}{helper}".replace("\n", end))
    return "".join(lines)


def _end_of_imports(module: ast.Module) -> int:
    """Return the number of lines up to the first statement that is no docstring and no import."""
    end = 0
    for number, statement in enumerate(module.body):
        is_docstring = number == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not is_docstring and not isinstance(statement, ast.Import | ast.ImportFrom):
            return end or _top_of(statement) - 1
        end = statement.end_lineno or statement.lineno
    return end


def _top_of(statement: ast.stmt) -> int:
    """Return the first line of a statement, with its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min((decorator.lineno for decorator in decorators), default=statement.lineno)
