"""Compare a function's parameters."""

from __future__ import annotations

from collections.abc import Iterator

from rollguard.compat.model import BY_POSITION, VARIADIC, Change, ChangeKind, Function, Parameter, ParameterKind
from rollguard.compat.schema_diff import differences

K = ChangeKind


def parameter_changes(old: Function, new: Function, *, is_tool: bool) -> Iterator[Change]:
    """Yield the changes of parameters: removed, added, renamed, moved, or of another type or kind.

    Args:
        is_tool: whether all arguments are keyword arguments, as in calls of a tool.
    """
    was, now = _plain(old), _plain(new)
    gone, come = [p for p in was.values() if p.name not in now], [p for p in now.values() if p.name not in was]
    renamed = _renamed(old, new, gone, come)
    for parameter in gone:
        yield _gone(parameter, renamed.get(parameter.name), new, is_tool=is_tool)
    for parameter in come:
        if parameter.name not in renamed.values():
            how = "required: a call without it fails" if parameter.required else "optional"
            sentence = f"{new.name}: parameter {parameter.name} is new and {how}"
            yield Change(K.PARAMETER_ADDED, new.name, parameter.name, sentence, breaking=parameter.required)
    for name, parameter in was.items():
        if name in now:
            yield from _one(parameter, now[name], new.name, is_tool=is_tool)
    yield from _order(old, new, renamed, is_tool=is_tool)
    yield from _variadic(old, new, is_tool=is_tool)


def _gone(parameter: Parameter, renamed: str | None, new: Function, *, is_tool: bool) -> Change:
    name, function = parameter.name, new.name
    if renamed is not None:
        by_position_only = parameter.kind is ParameterKind.POSITIONAL_ONLY and not is_tool
        sentence = f"{function}: parameter {name} is called {renamed} now"
        return Change(K.PARAMETER_RENAMED, function, name, sentence, breaking=not by_position_only)
    keywords = new.taking(ParameterKind.VAR_KEYWORD)
    if keywords is not None and (is_tool or parameter.kind is ParameterKind.KEYWORD_ONLY):
        sentence = f"{function}: parameter {name} is no longer named, but **{keywords.name} takes it"
        return Change(K.PARAMETER_REMOVED, function, name, sentence, breaking=False)
    sentence = f"{function}: parameter {name} is gone: a call that gives it fails"
    return Change(K.PARAMETER_REMOVED, function, name, sentence, breaking=True)


def _one(old: Parameter, new: Parameter, function: str, *, is_tool: bool) -> Iterator[Change]:
    where = f"{function}: parameter {new.name}"
    if new.required and not old.required:
        sentence = f"{where} is required now: a call without it fails"
        yield Change(K.PARAMETER_MADE_REQUIRED, function, new.name, sentence, breaking=True)
    elif old.required and not new.required:
        yield Change(K.PARAMETER_MADE_OPTIONAL, function, new.name, f"{where} may be left out now", breaking=False)
    elif old.default != new.default:
        sentence = f"{where} is {new.default} by default, before {old.default}"
        yield Change(K.DEFAULT_CHANGED, function, new.name, sentence, breaking=False)
    if new.kind is not old.kind:
        takes_less = ParameterKind.EITHER in (old.kind, new.kind) and new.kind is not ParameterKind.EITHER
        breaking = not is_tool and (takes_less or ParameterKind.EITHER not in (old.kind, new.kind))
        sentence = f"{where} is {new.kind} now, before {old.kind}"
        yield Change(K.PARAMETER_KIND_CHANGED, function, new.name, sentence, breaking=breaking)
    yield from _types(old, new, function, where)


def _types(old: Parameter, new: Parameter, function: str, where: str) -> Iterator[Change]:
    if old.schema is None or new.schema is None:
        if old.schema is not new.schema:  # an annotation for what was always accepted refuses no call
            sentence = f"{where} has the type {new.annotation} now, before none was said"
            if new.schema is None:
                sentence = f"{where} has no type any more, before {old.annotation}"
            yield Change(K.PARAMETER_RETYPED, function, new.name, sentence, breaking=False)
        return
    for difference in differences(old.schema, new.schema):
        kind = K.PARAMETER_NARROWED if difference.narrower else K.PARAMETER_WIDENED
        kind = K.PARAMETER_RETYPED if difference.other_type else kind
        yield Change(kind, function, new.name, f"{where} {difference.sentence}", breaking=difference.narrower)


def _order(old: Function, new: Function, renamed: dict[str, str], *, is_tool: bool) -> Iterator[Change]:
    """Yield the parameters whose position changed for calls by position."""
    was = [renamed.get(p.name, p.name) for p in old.parameters if p.kind in BY_POSITION]
    now = [p.name for p in new.parameters if p.kind in BY_POSITION]
    stayed = [name for name in was if name in now]
    if stayed != [name for name in now if name in was]:
        sentence = f"{new.name}: the order of the parameters is {', '.join(now)} now, before {', '.join(was)}"
        yield Change(K.PARAMETERS_REORDERED, new.name, None, sentence, breaking=True)
    elif not is_tool and stayed == was and now[: len(was)] != was:
        first = next(name for name, before in zip(now, was, strict=False) if name != before)
        sentence = f"{new.name}: parameter {first} stands before others now, which calls by position do not expect"
        yield Change(K.PARAMETERS_REORDERED, new.name, first, sentence, breaking=True)


def _variadic(old: Function, new: Function, *, is_tool: bool) -> Iterator[Change]:
    for kind in VARIADIC:
        was, now = old.taking(kind), new.taking(kind)
        if was is not None and now is None:
            breaking = kind is ParameterKind.VAR_KEYWORD or not is_tool
            what = "other parameters" if kind is ParameterKind.VAR_KEYWORD else "further positional arguments"
            sentence = f"{new.name}: {kind}{was.name} is gone: it no longer takes {what}"
            yield Change(K.PARAMETER_REMOVED, new.name, f"{kind}{was.name}", sentence, breaking=breaking)
        elif now is not None and was is None:
            sentence = f"{new.name}: {kind}{now.name} is new and optional"
            yield Change(K.PARAMETER_ADDED, new.name, f"{kind}{now.name}", sentence, breaking=False)
        elif now is not None and was is not None and not (is_tool and kind is ParameterKind.VAR_POSITIONAL):
            yield from _types(was, now, new.name, f"{new.name}: {kind}{now.name}")


def _plain(function: Function) -> dict[str, Parameter]:
    return {p.name: p for p in function.parameters if p.kind not in VARIADIC}


def _renamed(old: Function, new: Function, gone: list[Parameter], come: list[Parameter]) -> dict[str, str]:
    """Return the new names of parameters that differ only in their name."""
    places = [function.parameters.index for function in (old, new)]
    return {
        one.name: other.name
        for one in gone
        for other in come
        if places[0](one) == places[1](other)
        and (one.kind, one.required, one.schema, one.default)
        == (other.kind, other.required, other.schema, other.default)
    }
