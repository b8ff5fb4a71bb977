"""Compare two versions of a tool's code: every change that a caller may notice, breaking ones first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollguard.compat.extract import read
from rollguard.compat.model import Change, ChangeKind, Function, Interface
from rollguard.compat.parameter_diff import parameter_changes
from rollguard.compat.schema_diff import differences

K = ChangeKind
_LARGEST = 2**20  # bytes of a file that is compared; a syntax tree takes a thousand times as much memory


def changes(before: bytes | str, after: bytes | str, tool_name: str) -> tuple[Change, ...]:
    """Return what changed for callers between two versions of a tool. The code is read, never run.

    A tool is called by its name with keyword arguments, so a change of its own function is breaking if such a call may
    fail or mean something else. Callers may call the other public functions of the file by position too.

    Args:
        before, after: the whole content of the two files.
        tool_name: the tool's name.

    Returns:
        The changes, breaking ones first. Empty if only layout, comments, docstrings or function bodies differ.
    """
    if before == after:
        return ()
    try:
        if max(len(before), len(after)) > _LARGEST:
            raise MemoryError
        read_before, read_after = _read(before, tool_name), _read(after, tool_name)
    except (RecursionError, MemoryError):
        return (
            Change(
                K.UNREADABLE, None, None, f"{tool_name}: too large or too deeply nested to be compared", breaking=False
            ),
        )
    if isinstance(read_after, str):
        if isinstance(read_before, str):
            return ()
        return (
            Change(K.UNREADABLE, None, None, f"{tool_name}: this is no Python any more: {read_after}", breaking=True),
        )
    if isinstance(read_before, str):
        return (
            Change(K.UNREADABLE, None, None, f"{tool_name}: this was no Python before: {read_before}", breaking=False),
        )
    found = dict.fromkeys(_all(read_before, read_after, tool_name))
    return tuple(sorted(found, key=lambda change: not change.breaking))


def _read(code: bytes | str, tool_name: str) -> Interface | str:
    try:
        return read(code, tool_name)
    except (SyntaxError, ValueError) as error:
        return str(error)


def _all(before: Interface, after: Interface, tool_name: str) -> Iterator[Change]:
    old, new = before.tool, after.tool
    renamed = _renamed(before, after)
    if old is not None and new is not None:
        yield from _tool_changes(before, after, old, new)
    elif before.opaque or after.opaque:
        if before.opaque != after.opaque:
            sentence = f"{tool_name}: its source does not tell what it takes, so whether callers break is not known"
            yield Change(K.UNREADABLE, None, None, sentence, breaking=False)
    elif old is not None and old.name not in renamed and old.name not in after.functions:
        sentence = f"{tool_name}: the tool is gone: there is no {old.name} any more, and nothing in its place"
        yield Change(K.TOOL_REMOVED, old.name, None, sentence, breaking=True)
    yield from _class_changes(before, after)
    own = {f.name for f in (old, new) if f is not None and old is not None and new is not None}
    gone_classes = set(before.classes) - set(after.classes)
    come_classes = set(after.classes) - set(before.classes)
    for name, function in before.functions.items():
        if name in own or ("." in name and name.partition(".")[0] in gone_classes):
            continue
        if name in after.functions:
            yield from function_changes(function, after.functions[name], is_tool=False)
        elif name in renamed:
            sentence = f"{name} is called {renamed[name]} now"
            yield Change(K.FUNCTION_RENAMED, name, None, sentence, breaking=True)
        elif function is not old:
            yield Change(K.FUNCTION_REMOVED, name, None, f"{name} is gone", breaking=True)
    for name in after.functions:
        of_new_class = "." in name and name.partition(".")[0] in come_classes
        if name not in before.functions and name not in own and name not in renamed.values() and not of_new_class:
            yield Change(K.FUNCTION_ADDED, name, None, f"{name} is new", breaking=False)


def _tool_changes(before: Interface, after: Interface, old: Function, new: Function) -> Iterator[Change]:
    found = list(function_changes(old, new, is_tool=True))
    if before.definition is not None and after.definition is not None:
        reported = {change.parameter for change in found if change.parameter is not None}
        found += [c for c in _definition_changes(before, after, new.name) if c.parameter not in reported]
    yield from found
    if old.name != new.name and old.name.partition(".")[0] not in after.classes:
        sentence = (
            f"the tool's own function is {new.name} now and was {old.name}; calls name the tool, not the function"
        )
        yield Change(K.FUNCTION_RENAMED, old.name, None, sentence, breaking=False)


def function_changes(old: Function, new: Function, *, is_tool: bool) -> Iterator[Change]:
    """Yield the changes of one function.

    Args:
        is_tool: whether it is the tool's own function, which takes keyword arguments only and may be sync or async.
    """
    if new.is_async and not old.is_async:
        sentence = f"{new.name} is async now: a plain call of it in a running event loop fails"
        yield Change(K.FUNCTION_MADE_ASYNC, new.name, None, sentence, breaking=True)
    elif old.is_async and not new.is_async:
        sentence = f"{new.name} is no longer async" + ("" if is_tool else ": it cannot be awaited any more")
        yield Change(K.FUNCTION_MADE_SYNC, new.name, None, sentence, breaking=not is_tool)
    yield from parameter_changes(old, new, is_tool=is_tool)
    if old.result_annotation != new.result_annotation and old.result is not None and new.result is not None:
        # A narrower result breaks no caller, a wider one may.
        wider = [d for d in differences(new.result, old.result) if d.narrower]
        if wider or differences(old.result, new.result):
            sentence = f"{new.name} returns {new.result_annotation}, before {old.result_annotation}"
            yield Change(K.RESULT_RETYPED, new.name, None, sentence, breaking=bool(wider))


def _definition_changes(before: Interface, after: Interface, function: str) -> Iterator[Change]:
    """Yield the changes of the definition that a tool class returns."""
    old, new = before.definition or {}, after.definition or {}
    known, knows = _mapping(old.get("properties")), _mapping(new.get("properties"))
    needed, needs = old.get("required") or [], new.get("required") or []
    where = f"the definition of {function}"
    for name in known:
        if name not in knows:
            yield Change(K.PARAMETER_REMOVED, function, name, f"{where}: parameter {name} is gone", breaking=True)
    for name in knows:
        if name not in known:
            required = name in needs
            how = "is new and required" if required else "is new and may be left out"
            yield Change(K.PARAMETER_ADDED, function, name, f"{where}: parameter {name} {how}", breaking=required)
        elif name in needs and name not in needed:
            sentence = f"{where}: parameter {name} is required now"
            yield Change(K.PARAMETER_MADE_REQUIRED, function, name, sentence, breaking=True)
        elif name in needed and name not in needs:
            sentence = f"{where}: parameter {name} may be left out now"
            yield Change(K.PARAMETER_MADE_OPTIONAL, function, name, sentence, breaking=False)
    for name in known.keys() & knows.keys():
        for difference in differences(
            {**_mapping(known[name]), **_roots(old)}, {**_mapping(knows[name]), **_roots(new)}
        ):
            kind = K.PARAMETER_WIDENED if not difference.narrower else K.PARAMETER_NARROWED
            kind = K.PARAMETER_RETYPED if difference.other_type else kind
            sentence = f"{where}: parameter {name} {difference.sentence}"
            yield Change(kind, function, name, sentence, breaking=difference.narrower)


def _roots(schema: Mapping[str, object]) -> dict[str, object]:
    """Return the targets of the references in a part of the schema."""
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _class_changes(before: Interface, after: Interface) -> Iterator[Change]:
    tools = {f.name.partition(".")[0] for f in (before.tool, after.tool) if f is not None and "." in f.name}
    come = {body: name for name, body in after.classes.items() if name not in before.classes}
    taken = set()
    for name, body in before.classes.items():
        if name in after.classes or name in tools:
            continue
        if body in come:
            taken.add(come[body])
            yield Change(K.CLASS_RENAMED, name, None, f"class {name} is called {come[body]} now", breaking=True)
        else:
            yield Change(K.CLASS_REMOVED, name, None, f"class {name} is gone", breaking=True)
    for name in come.values():
        if name not in taken and name not in tools:
            yield Change(K.CLASS_ADDED, name, None, f"class {name} is new", breaking=False)


def _renamed(before: Interface, after: Interface) -> dict[str, str]:
    """Return the new names of renamed functions, by their old names."""
    both_tools = {f.name for f in (before.tool, after.tool) if f is not None and before.tool and after.tool}
    come = {
        function.body: name
        for name, function in after.functions.items()
        if name not in before.functions and name not in both_tools and "." not in name
    }
    return {
        name: come[function.body]
        for name, function in before.functions.items()
        if name not in after.functions and name not in both_tools and "." not in name and function.body in come
    }


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
