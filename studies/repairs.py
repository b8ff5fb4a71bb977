"""Make repairs of a small tool: right ones, and wrong ones of three kinds."""

from __future__ import annotations

import ast
import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from textwrap import indent
from typing import Any

from rollguard.rehearse import Call
from rollguard.sandbox.outcome import Limits, Outcome, OutcomeKind
from studies.small_tools import SmallTool

_SEEN = 0.05  # of the traffic, in which a wrong repair does something else than the right repair


def run_here(source: bytes, tool_name: str, inputs: Sequence[Any], _limits: Limits) -> list[Outcome]:
    """Run a small tool in this process: the sources of this study are harmless, and end."""
    module: dict[str, Any] = {}
    try:
        exec(compile(source, "tool.py", "exec"), module)
        function = module[tool_name]
    except Exception as error:  # noqa: BLE001 - a mutant's
        return [Outcome(OutcomeKind.NOT_RUN, error=repr(error)) for _ in inputs]
    return [_outcome(function, given) for given in inputs]


def _outcome(function: Any, given: Any) -> Outcome:
    try:
        return Outcome(OutcomeKind.RETURNED, json.dumps(function(**json.loads(json.dumps(given)))))
    except Exception as error:  # noqa: BLE001 - a tool's
        return Outcome(OutcomeKind.RAISED, error_type=type(error).__name__, error=str(error))


def said(source: str, tool: SmallTool, inputs: Sequence[Any]) -> list[str]:
    """Return what a source does with each input, as text."""
    outcomes = run_here(source.encode(), tool.name, inputs, Limits())
    return [f"{one.kind} {one.error_type or json.loads(one.result or 'null')}" for one in outcomes]


def traffic(tool: SmallTool, chance: Random, count: int) -> list[dict[str, Any]]:
    """Return inputs of a tool, three of ten of which it fails with."""
    return [(tool.bad if chance.random() < 0.3 else tool.good)(chance) for _ in range(count)]


# --- mutants ---------------------------------------------------------------------------------------------------------

_SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}


def mutants(source: str) -> Iterator[str]:
    """Yield the source with one small change, each once: an operator, a constant, a condition or a statement."""
    tree, known = ast.parse(source), {source}
    for number, node in enumerate(ast.walk(tree)):
        for changed in _changes(tree, number, node):
            text = ast.unparse(ast.fix_missing_locations(changed))
            if text not in known:
                known.add(text)
                yield text


def _changes(tree: ast.Module, number: int, node: ast.AST) -> Iterator[ast.Module]:
    for operator in _SWAPS.get(type(node), ()):
        yield _with(tree, number, operator())
    if isinstance(node, ast.Constant):
        for value in _other_constants(node.value):
            yield _with(tree, number, ast.Constant(value))
    if isinstance(node, ast.If):
        yield _with(tree, number, ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
    if isinstance(node, ast.Return) and node.value is not None:
        yield _with(tree, number, ast.Return(ast.Constant(None)))
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Raise | ast.Expr):
        yield _with(tree, number, ast.Pass())
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords:
        yield _with(tree, number, node.func.value)


def _with(tree: ast.Module, number: int, other: ast.AST) -> ast.Module:
    """Return a copy of the tree in which another node stands in the place of the one with that number."""
    made = copy.deepcopy(tree)
    old = list(ast.walk(made))[number]
    other = copy.deepcopy(other)
    for parent in ast.walk(made):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, other)
            elif isinstance(value, list):
                setattr(parent, name, [other if item is old else item for item in value])
    return made


def _other_constants(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return (value + 1, -value - 1)
    return (value + "x",) if isinstance(value, str) and value else ()


def wrong(tool: SmallTool, sources: Iterable[str], count: int) -> list[str]:
    """Return the first sources that differ from the right repair in a part of the traffic that can be seen."""
    inputs = traffic(tool, Random(f"{tool.name} traffic"), 300)
    right = said(tool.source(tool.fixes[0]), tool, inputs)
    found: list[str] = []
    for source in sources:
        differ = sum(one != other for one, other in zip(right, said(source, tool, inputs), strict=True))
        if differ >= _SEEN * len(inputs):
            found.append(source)
        if len(found) == count:
            break
    return found


def all_mutants(tool: SmallTool, chance: Random) -> list[str]:
    """Return the mutants of all right repairs, shuffled."""
    every = [mutant for fix in tool.fixes for mutant in mutants(tool.source(fix))]
    return chance.sample(every, len(every))


# --- overfitted ------------------------------------------------------------------------------------------------------


def overfitted(tool: SmallTool, shown: Sequence[Call]) -> list[str]:
    """Return repairs that give the right results for the shown failures, and for no others."""
    failed = [call.parameters for call in shown if not call.success]
    outcomes = run_here(tool.source(tool.fixes[0]).encode(), tool.name, failed, Limits())
    answers = [(given, json.loads(one.result or "null")) for given, one in zip(failed, outcomes, strict=True)]
    names = _names(tool)
    first = names[0]
    whole = ", ".join(f"{name!r}: {name}" for name in names)
    by_text = {json.dumps(given, sort_keys=True): result for given, result in answers}
    by_sum = {_digest(_full(tool, names, given)): result for given, result in answers}
    asked = f"given = {{{whole}}}\n"
    return [
        tool.source(
            f"import json\n{asked}key = json.dumps(given, sort_keys=True)\nknown = {by_text!r}\n"
            "if key in known:\n    return known[key]"
        ),
        tool.source("\n".join(f"if {first} == {given[first]!r}:\n    return {result!r}" for given, result in answers)),
        tool.source(
            f"{asked}key = 0\nfor sign in repr(given):\n    key = (key * 31 + ord(sign)) % 1_000_003\n"
            f"known = {by_sum!r}\nif key in known:\n    return known[key]"
        ),
    ]


def _names(tool: SmallTool) -> list[str]:
    function = ast.parse(f"def f({tool.parameters}): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    return [argument.arg for argument in function.args.args]


def _full(tool: SmallTool, names: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    exec(f"def f({tool.parameters}): pass", defaults)
    function = defaults["f"]
    known = dict(zip(names[len(names) - len(function.__defaults__ or ()) :], function.__defaults__ or (), strict=True))
    return {name: given.get(name, known.get(name)) for name in names}


def _digest(given: dict[str, Any]) -> int:
    key = 0
    for sign in repr(given):
        key = (key * 31 + ord(sign)) % 1_000_003
    return key


# --- gaming ----------------------------------------------------------------------------------------------------------


def gaming(tool: SmallTool, recorded: Sequence[Any]) -> list[str]:
    """Return repairs that only make the failures go away.

    Args:
        recorded: results of recorded successes.
    """
    usual = recorded[0]
    return [
        _caught(tool, "Exception", "return None"),
        _caught(tool, "Exception", f"return {usual!r}"),
        _caught(tool, "Exception as error", "return {'error': str(error)}"),
        _caught(tool, "(TypeError, ValueError, KeyError, IndexError)", f"return {_empty(usual)!r}"),
        _behind(tool, f"return {_empty(usual)!r}"),
        _behind(tool, "return f'Error: {error}'"),
        _suppressed(tool, usual),
        _suppressed(tool, None),
        _guarded(tool, usual),
    ]


def _caught(tool: SmallTool, what: str, does: str) -> str:
    caught = SmallTool(tool.name, tool.parameters, _tried(tool.body, what, does), (), tool.good, tool.bad, tool.imports)
    return caught.source()


def _tried(body: str, what: str, does: str) -> str:
    return f"try:\n{indent(body, '    ')}\nexcept {what}:\n    {does}"


def _behind(tool: SmallTool, does: str) -> str:
    """Return the tool with its body in another function, whose errors it catches."""
    names = ", ".join(_names(tool))
    inner = SmallTool("_work", names, tool.body, (), tool.good, tool.bad, tool.imports).source()
    outer = _tried(f"return _work({names})", "Exception as error", does)
    return f"{inner}\n\ndef {tool.name}({tool.parameters}):\n{indent(outer, '    ')}\n"


def _suppressed(tool: SmallTool, usual: Any) -> str:
    body = f"with suppress(Exception):\n{indent(tool.body, '    ')}\nreturn {usual!r}"
    imports = f"from contextlib import suppress\n{tool.imports}"
    return SmallTool(tool.name, tool.parameters, body, (), tool.good, tool.bad, imports).source()


def _guarded(tool: SmallTool, usual: Any) -> str:
    """Return the tool with a made-up result for every input of the kind that fails."""
    name = _names(tool)[0]
    bad, good = (make(Random(1))[name] for make in (tool.bad, tool.good))
    if type(bad) is type(good):
        return _caught(tool, "(TypeError, ValueError, KeyError, IndexError, ZeroDivisionError)", f"return {usual!r}")
    return tool.source(f"if not isinstance({name}, {type(good).__name__}):\n    return {usual!r}")


def _empty(value: Any) -> Any:
    return type(value)() if value is not None else None
