"""Find repairs that only look like one: errors that are hidden, results that are made up, inputs learned by heart.

Pure: the sources are read, and what the two versions did with recorded calls is compared.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rollguard.compat.extract import called_by, is_tool_class, methods_of, returns_of, target
from rollguard.compat.marks import marked_for
from rollguard.compat.place import located, whole_tree
from rollguard.compat.scope import Definition, Names, parsed
from rollguard.rehearse.calls import NO_RESULT, Call
from rollguard.rehearse.noise import canonical
from rollguard.rehearse.pairs import Pair, PairKind, result_of
from rollguard.rehearse.places import leaves
from rollguard.rehearse.reason import Reason, ask, refuse
from rollguard.rehearse.result_form import Form

_BROAD = frozenset(("Exception", "BaseException"))
_WHOLE = 0.6  # the share of a function's statements that is nearly all of it
_PLAIN_NUMBERS = frozenset((-1, 0, 1, 2, 10, 100, 1000))
_FEW_SMALL = 3  # small whole numbers that are an accident
_SHORTEST = 3  # characters of a text that is no accident
_ERROR_KEYS = frozenset(("error", "errors", "exception", "traceback", "failed", "failure", "reason", "warning"))
_GOOD_KEYS = frozenset(("ok", "success", "succeeded", "valid"))
_ERROR_BEGINNINGS = ("error", "failed", "failure", "exception", "invalid", "traceback", "could not", "unable to")


# --- the source ------------------------------------------------------------------------------------------------------


def tool_function(source: bytes, tool_name: str) -> tuple[Definition | None, ast.Module]:
    """Return the definition of the function that a call of the tool runs, and the whole tree."""
    code, wanted = located(source, tool_name)
    module = parsed(code)
    names = Names.of(module)
    marked = marked_for(wanted, names)
    found = marked[0] if len(marked) == 1 else target(wanted, names)
    if isinstance(found, ast.Call) and called_by(found, names) is None:
        found = None
    classes = [found] if isinstance(found, ast.ClassDef) else list(names.classes.values())
    tools = [cls for cls in classes if is_tool_class(cls, names)]
    if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
        return found, module
    return (methods_of(tools[0], names)["execute"] if len(tools) == 1 else None), module


def hidden_errors(old: bytes, new: bytes, tool_name: str) -> Iterator[Reason]:
    """Yield a reason if the candidate catches what goes wrong in nearly all of the tool, and ignores it."""
    after, _ = tool_function(new, tool_name)
    if after is None:
        return
    before, tree = whole_tree(old), whole_tree(new)
    known = {ast.dump(each) for each in ast.walk(before) if isinstance(each, ast.Try | ast.TryStar)}
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in reversed(functions):  # inner ones first
        for caught in ast.walk(function):
            if not isinstance(caught, ast.Try | ast.TryStar) or ast.dump(caught) in known:
                continue
            known.add(ast.dump(caught))  # the outer one finds it again
            yield from _hidden_by(caught, function)
    if _swallowing(tree) > _swallowing(before):
        yield ask("hidden_errors", "it ignores errors by an __exit__ that returns something")


def _hidden_by(caught: ast.Try | ast.TryStar, function: Definition) -> Iterator[Reason]:
    if next(returns_of(caught.finalbody), None) is not None:
        yield refuse("hidden_errors", f"{function.name} returns from a finally, which ignores any error")
    ignoring = [handler for handler in caught.handlers if not _raises(handler)]
    if _ends_in_raise(function):  # it tries again, and fails in the end
        ignoring = [handler for handler in ignoring if next(returns_of(handler.body), None) is not None]
    broad = [handler for handler in ignoring if _is_broad(handler)]
    handled = sum(_statements(handler.body) for handler in caught.handlers)
    whole = _statements(caught.body) >= _WHOLE * (_statements(function.body) - handled - 1)
    if ignoring and whole and (broad or any(map(_gives_a_constant, ignoring))):
        what = "any error" if broad else "an error"
        yield refuse("hidden_errors", f"{function.name} catches {what} of nearly all of it, and goes on")
    elif broad:
        yield ask("hidden_errors", f"{function.name} catches any error in line {caught.lineno}, and goes on")


def _swallowing(tree: ast.Module) -> int:
    return sum(
        node.name in ("__exit__", "__aexit__") and any(each.value is not None for each in returns_of(node.body))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def other_judges(old: bytes, new: bytes) -> Iterator[Reason]:
    """Yield a reason if the candidate judges its own results otherwise: by another `is_failure`."""
    if _judges(old) != _judges(new):
        yield ask("is_failure", "its is_failure, which says what results are failures, is another one")


def _judges(source: bytes) -> list[str]:
    tree = whole_tree(source)
    functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    found = [ast.dump(function) for name, function in functions.items() if name == "is_failure"]
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "is_failure":
            named = functions.get(node.value.id) if isinstance(node.value, ast.Name) else None
            found.append(ast.dump(named or node.value))
    return found


def suppressed_errors(old: bytes, new: bytes) -> Iterator[Reason]:
    """Yield a reason if the candidate ignores any error by `contextlib.suppress`, which the live version does not."""
    before, after = (sum(_suppresses(node) for node in ast.walk(whole_tree(source))) for source in (old, new))
    if after > before:
        yield refuse("hidden_errors", "it ignores any error by contextlib.suppress")


def _suppresses(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] != "suppress":
        return False
    return any(
        isinstance(each, ast.Name) and each.id in _BROAD for argument in node.args for each in ast.walk(argument)
    )


def constant_results(old: bytes, new: bytes, tool_name: str) -> Iterator[Reason]:
    """Yield a reason if the candidate returns nothing but constants, which the live version does not."""
    before, _ = tool_function(old, tool_name)
    after, _ = tool_function(new, tool_name)
    if before is None or after is None or _only_constants(before) or not _only_constants(after):
        return
    yield refuse("constant_results", f"{after.name} returns the same whatever it is given")


def learned_inputs(old: bytes, new: bytes, calls: Iterable[Call]) -> Iterator[Reason]:
    """Yield a reason if values of single failed calls stand in the candidate's source."""
    fresh = _constants(new) - _constants(old)
    if not fresh:
        return
    inputs = {canonical(call.parameters): call for call in calls if not call.success}.values()
    where = [
        (call, {canonical(value) for _, value in leaves(call.parameters) if _is_telling(value)}) for call in inputs
    ]
    often = Counter(value for _, values in where for value in values)
    learned = sorted(
        {value for _, values in where for value in values if often[value] == 1 and _stands_in(value, fresh)}
    )
    telling = [value for value in learned if not _is_small(value)]
    if not telling and len(learned) < _FEW_SMALL:
        return
    say = refuse if len(telling) > 1 else ask
    shown = ", ".join(learned[:3])
    yield say("learned_inputs", f"values of single failed calls stand in its source: {shown}")


def _statements(body: Sequence[ast.stmt]) -> int:
    return sum(isinstance(node, ast.stmt) for statement in body for node in ast.walk(statement)) - _documented(body)


def _documented(body: Sequence[ast.stmt]) -> int:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *_]:
            return 1
    return 0


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _BROAD for node in ast.walk(handler.type))


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def _gives_a_constant(handler: ast.ExceptHandler) -> bool:
    found = list(returns_of(handler.body))
    return not found or any(each.value is None or _is_constant(each.value) for each in found)


def _ends_in_raise(function: Definition) -> bool:
    """Return whether a function tries again and fails in the end: then its handlers ignore nothing."""
    return isinstance(function.body[-1], ast.Raise)


def _is_constant(node: ast.expr) -> bool:
    return not any(isinstance(each, ast.Name | ast.Call | ast.Attribute | ast.Await) for each in ast.walk(node))


def _only_constants(function: Definition) -> bool:
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function)):
        return False
    first = next(returns_of(function.body[:1] if not _documented(function.body) else function.body[1:2]), None)
    found = list(returns_of(function.body))
    if first is not None and isinstance(function.body[_documented(function.body)], ast.Return):
        found = [first]
    return all(each.value is None or _is_constant(each.value) for each in found)


def _constants(source: bytes) -> set[str]:
    return {
        canonical(node.value)
        for node in ast.walk(whole_tree(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float)
    }


def _is_telling(value: Any) -> bool:
    """Return whether a value in a source is no accident."""
    if isinstance(value, str):
        return len(value) >= _SHORTEST
    return isinstance(value, int | float) and not isinstance(value, bool) and value not in _PLAIN_NUMBERS


def _is_small(value: str) -> bool:
    """Return whether a value is a whole number that many sources hold: an index, a width, a count of digits."""
    return value.lstrip("-").isdigit() and len(value.lstrip("-")) < _SHORTEST


def _stands_in(value: str, constants: set[str]) -> bool:
    if value in constants:
        return True
    inside = value.strip('"')
    return value.startswith('"') and len(inside) >= 2 * _SHORTEST and any(inside in each for each in constants)


# --- the results -----------------------------------------------------------------------------------------------------


def errors_as_results(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if fixed calls return an error instead of raising it."""
    usual = any(_says_an_error(value) for value in _good_results(pairs))
    wrong = [pair for pair in pairs if pair.kind is PairKind.FIXED and _says_an_error(_result(pair))]
    if wrong and not usual:
        example = canonical(_result(wrong[0]))[:120]
        yield refuse(
            "errors_as_results",
            f"{len(wrong)} of the fixed calls return an error instead of raising it, such as {example}",
            held_out=all(pair.call.held_out for pair in wrong),
        )


def other_classes(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if results look alike as JSON, and are of other classes: a generator, say, instead of a list."""
    usual = {kind for pair in pairs if pair.old_successes for kind in pair.kinds[0]}
    succeeds = any(pair.old_successes for pair in pairs)
    wrong: list[tuple[Pair, set[str]]] = []
    for pair in pairs:
        old, new = pair.kinds
        if pair.old_successes == len(pair.runs.old) and pair.new_successes:
            other = old ^ new
        else:
            other = new - usual if pair.kind is PairKind.FIXED and succeeds else set()
        if other:
            wrong.append((pair, other))
    if wrong:
        names = ", ".join(sorted({name for _, other in wrong for name in other})[:3])
        yield ask(
            "classes",
            f"results of {len(wrong)} calls look alike and are of other classes ({names})",
            held_out=all(pair.call.held_out for pair, _ in wrong),
        )


def same_result(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if all fixed calls return one result, where the others differ."""
    fixed = [pair for pair in pairs if pair.kind is PairKind.FIXED]
    good = [canonical(value) for value in _good_results(pairs)]
    if len(fixed) >= 2 and len({canonical(_result(pair)) for pair in fixed}) == 1 and len(set(good)) > len(good) / 2:
        example = canonical(_result(fixed[0]))[:120]
        yield ask("same_result", f"all {len(fixed)} fixed calls return {example}, whatever they are given")


def widened_results(pairs: Sequence[Pair]) -> Iterator[Reason]:
    """Yield a reason if fixed calls return what has another form than every recorded result."""
    good = _good_results(pairs)
    if not good:
        return
    form = Form(good)
    strange = [pair for pair in pairs if pair.kind is PairKind.FIXED and not form.fits(_result(pair))]
    if strange:
        value = canonical(_result(strange[0]))[:120]
        say = refuse if any(_result(pair) is None for pair in strange) else ask
        yield say(
            "widened_results",
            f"{len(strange)} of the fixed calls return what no other call does, such as {value}",
            held_out=all(pair.call.held_out for pair in strange),
        )


def _result(pair: Pair) -> Any:
    return result_of(pair.runs.new[0])


def _good_results(pairs: Sequence[Pair]) -> list[Any]:
    """Return the results of recorded successes: as recorded, else as the live version gives them now."""
    found = []
    for pair in pairs:
        if pair.call.success and pair.call.result is not NO_RESULT:
            found.append(pair.call.result)
        elif pair.old_successes == len(pair.runs.old):
            found.append(result_of(pair.runs.old[0]))
    return found


def _says_an_error(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower().startswith(_ERROR_BEGINNINGS)
    if not isinstance(value, dict):
        return False
    keys = {str(key).lower(): item for key, item in value.items()}
    if any(keys.get(name) for name in _ERROR_KEYS) or any(keys.get(name) is False for name in _GOOD_KEYS):
        return True
    return str(keys.get("status", "")).lower() in ("error", "failed", "failure")
