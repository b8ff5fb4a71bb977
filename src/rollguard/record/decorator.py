"""`@tool`: mark a file's tool, describe it, and make a function record its own calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rollguard.errors import InvalidInput, InvalidSetting

if TYPE_CHECKING:  # a file that only marks its tool does not wait for a database library
    from rollguard.model.split import Router
    from rollguard.record import Recorder
    from rollguard.record.call import IsFailure, Score
    from rollguard.record.instrument import VersionNumber
    from rollguard.store import ExecutionStore

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__rollguard_tool__"
LONGEST_TIMEOUT = 604_800  # seconds: a week


@dataclass(frozen=True, slots=True)
class Mark:
    """The options of `@tool`, stored on the function.

    Attributes:
        is_failure: returns whether a returned result is a failure.
        description: what the tool does.
        recorded: the original function, if the marked one records its own calls.
        record, skip, record_result: what of a call is recorded.
        timeout_seconds: a call that runs longer counts as failed.
        score: returns how right a returned result is.
        read_only, idempotent, side_effects, requires: what it is and needs, for rehearsals.
    """

    is_failure: IsFailure | None = None
    description: str | None = None
    recorded: Callable[..., Any] | None = None
    record: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    record_result: bool = True
    timeout_seconds: float | None = None
    score: Score | None = None
    read_only: bool | None = None
    idempotent: bool | None = None
    side_effects: tuple[str, ...] | None = None
    requires: tuple[str, ...] = ()


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    is_failure: IsFailure | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    store: ExecutionStore | None = None,
    recorder: Recorder | None = None,
    name: str | None = None,
    version: VersionNumber | None = None,
    record: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    record_result: bool = True,
    score: Score | None = None,
    read_only: bool | None = None,
    idempotent: bool | None = None,
    side_effects: Iterable[str] | None = None,
    requires: Iterable[str] = (),
    router: Router | None = None,
    previous: Callable[..., Any] | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    is_failure: IsFailure | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    store: ExecutionStore | None = None,
    recorder: Recorder | None = None,
    name: str | None = None,
    version: VersionNumber | None = None,
    record: Iterable[str] | None = None,
    skip: Iterable[str] = (),
    record_result: bool = True,
    score: Score | None = None,
    read_only: bool | None = None,
    idempotent: bool | None = None,
    side_effects: Iterable[str] | None = None,
    requires: Iterable[str] = (),
    router: Router | None = None,
    previous: Callable[..., Any] | None = None,
) -> F | Callable[[F], F]:
    """Mark the function of a file that is its tool; with `store`, make a function of any program record its calls.

    Without `store` or `recorder`, the function itself is returned unchanged. With one of them, its result and its
    exceptions stay the same, and each call is recorded as `registry.call` would record it. If a registry calls it, only
    the registry records the call.

    Args:
        is_failure: called with the tool's result; True, or the error's text, counts the call as failed. For tools that
            return an error instead of raising it. It may be a `FailureRule`.
        description: what the tool does, if its docstring does not say it.
        timeout_seconds: a call that runs longer counts as failed, also one that never ends. It is not ended.
        store: where its calls are recorded.
        recorder: records its calls, instead of `store`: `registry.recorder`, or one with other options.
        name: the tool name under which its calls are recorded; by default the function's name.
        version: the number of the version that runs, or a function without parameters that returns it at each call.
        record: names of the parameters to record, and no others. By default all are recorded but those that a
            framework gives (a context, callbacks, dependencies) and those without a form in JSON.
        skip: names of parameters that are not recorded. Secrets such as `api_key` are redacted in any case.
        record_result: False records no results.
        score: called with the tool's result, unless that is a failure; returns how right it is, from 0 to 1, or None.
        read_only: whether it changes nothing, so that a rehearsal may run it.
        idempotent: whether a repeated call changes nothing more.
        side_effects: what it changes, such as `["database"]`; an empty list says that it changes nothing.
        requires: the variables of the environment, and the hosts (with a dot or a colon), that it needs.
        router: draws each call while a rollout is on, such as `rollguard.model.split.Draws`; see docs/rollouts.md.
        previous: with `router`: the function as it was before, which a call of the old version runs.

    Raises:
        InvalidInput: the marked object is neither a function nor a class, or a value is invalid.
    """
    if function is not None and not callable(function):
        raise InvalidInput(f"@tool marks a function or a class, not {function!r}; its options are given by name")
    if store is not None and recorder is not None:
        raise InvalidInput("@tool records to a store or by a recorder; give one of store and recorder")
    if store is None and recorder is None and (name, version, router) != (None, None, None):
        raise InvalidInput(
            "@tool records nothing without a store, so name, version and router mean nothing; give store=..."
        )

    if (router is None) != (previous is None):
        raise InvalidInput("@tool draws between two functions; give both router and previous, or none of them")
    if timeout_seconds is not None:
        checked_timeout(timeout_seconds)
    if score is not None and not callable(score):
        raise InvalidInput(f"score: {score!r} is not a function; give one that takes the result, and returns 0 to 1")

    declared = _declared(read_only, idempotent, side_effects, requires)

    def mark(marked: F) -> F:
        records = recorder
        kept: dict[str, Any] = {
            **declared,
            "record": None if record is None else _names("record", record, marked),
            "skip": _names("skip", skip, marked),
            "record_result": record_result,
            "score": score,
        }
        if store is not None:
            from rollguard.record.instrument import recorder_of

            records = recorder_of(store)
        if records is None:
            setattr(marked, _MARK, Mark(is_failure, description, timeout_seconds=timeout_seconds, **kept))
            return marked
        from rollguard.record.instrument import self_recording

        judges = () if is_failure is None else (is_failure,)
        own = Mark(is_failure, description, recorded=marked, timeout_seconds=timeout_seconds, **kept)
        beside = None if router is None or previous is None else (router, previous)
        made = self_recording(marked, records, name=name, version=version, judges=judges, mark=own, beside=beside)
        setattr(made, _MARK, own)
        return made

    return mark if function is None else mark(function)


def _declared(
    read_only: object, idempotent: object, side_effects: Iterable[str] | None, requires: Iterable[str]
) -> dict[str, Any]:
    """Return what a tool says it is and needs; refuse what is invalid. Rehearsals read it from the source."""
    for key, flag in (("read_only", read_only), ("idempotent", idempotent)):
        if flag is not None and not isinstance(flag, bool):
            raise InvalidInput(f"{key}: {flag!r} is not True or False")
    given: dict[str, Any] = {"read_only": read_only, "idempotent": idempotent}
    for key, names in (("side_effects", side_effects), ("requires", requires)):
        found = None if names is None else tuple(names)
        if isinstance(names, str) or not all(isinstance(name, str) for name in found or ()):
            raise InvalidInput(f"{key}: {names!r} is not a list of strings, such as ['database']")
        given[key] = found
    return given


def checked_timeout(seconds: object, name: str = "timeout_seconds") -> float:
    """Return a time limit in seconds, or raise `InvalidInput`."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_TIMEOUT:
        raise InvalidInput(f"{name}: {seconds!r} is not a number of seconds above 0 and at most {LONGEST_TIMEOUT:,}")
    return float(seconds)


def _names(key: str, names: Iterable[str], marked: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of parameters that `@tool` is given; refuse one that the function does not have."""
    found = () if isinstance(names, str) else tuple(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise InvalidInput(f"{key}: {names!r} is not a list of names of parameters, such as ['city']")
    known = _parameters_of(marked) if found else None
    for name in found:
        if known is not None and name not in known:
            raise InvalidInput(f"{key}: {name!r} is no parameter; those of the function are {', '.join(known)}")
    return found


def _parameters_of(function: Callable[..., Any]) -> list[str] | None:
    """Return the names of a function's parameters; None if it may have any."""
    if inspect.isclass(function):
        function = getattr(function, "execute", function)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some functions written in C have no signature
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.name != "self"]


def mark_of(candidate: object) -> Mark | None:
    """Return the mark of `@tool`, or None."""
    mark = getattr(candidate, _MARK, None)
    return mark if isinstance(mark, Mark) else None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """Decides which returned results count as failures, by settings instead of code in the tool.

    A result is read by its keys, or by its fields if it is a dataclass or a pydantic model: as it is stored.

    Attributes:
        keys: a mapping with a true value under one of these keys is a failure; with the key `error`,
            `{"error": "no such city"}` is one.
        values: a mapping with one of these values under the key is a failure; with `{"ok": [False]}`,
            `{"ok": False}` is one.
    """

    keys: tuple[str, ...] = ()
    values: Mapping[str, tuple[Any, ...]] | None = None

    def __call__(self, result: Any) -> bool:
        fields = _fields(result)
        if any(fields.get(key) for key in self.keys):
            return True
        return any(key in fields and _among(fields[key], bad) for key, bad in (self.values or {}).items())

    @classmethod
    def from_settings(cls, key: str, setting: Mapping[str, Any]) -> FailureRule:
        """Return the rule for a setting such as `{keys = ["error"], values = {ok = [false]}}`.

        Raises:
            InvalidSetting: the setting has another form; the error names `key`.
        """
        unknown = sorted(set(setting) - {"keys", "values"})
        if unknown:
            raise InvalidSetting(f"{key}.{unknown[0]}", "unknown setting; the known ones are keys, values")
        keys, values = setting.get("keys", []), setting.get("values", {})
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            raise InvalidSetting(f"{key}.keys", f"{keys!r} is not a list of strings")
        if not isinstance(values, Mapping) or not all(isinstance(v, list) for v in values.values()):
            raise InvalidSetting(f"{key}.values", f"{values!r} is not a table of lists")
        return cls(tuple(keys), {k: tuple(v) for k, v in values.items()})


def either(first: IsFailure | None, second: IsFailure | None) -> IsFailure | None:
    """Return a check that finds a failure if one of the two finds it."""
    if first is None or second is None:
        return first or second
    return lambda result: first(result) or second(result)


def _fields(result: Any) -> Mapping[str, Any]:
    if isinstance(result, Mapping):
        return result
    # pydantic is not imported for it: a file that only marks its tool does not wait for it.
    names = getattr(type(result), "__dataclass_fields__", None) or getattr(type(result), "__pydantic_fields__", {})
    return {name: getattr(result, name) for name in names if hasattr(result, name)}


def _among(value: Any, bad: Iterable[Any]) -> bool:
    # In Python 1 == True; in a setting they differ.
    return any(type(value) is type(one) and value == one for one in bad)
