"""`@tool`: what a tool may say about itself, and whether it records its own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from rollguard.errors import InvalidInput, InvalidSetting
from rollguard.record import Recorder
from rollguard.record.call import IsFailure
from rollguard.record.instrument import VersionNumber, recorder_of, self_recording
from rollguard.store import ExecutionStore

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__rollguard_tool__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@tool` notes on a function.

    Attributes:
        is_failure: says of a returned result whether it is a failure.
        description: what the tool does.
        recorded: the function inside, where the marked one records its own calls.
    """

    is_failure: IsFailure | None = None
    description: str | None = None
    recorded: Callable[..., Any] | None = None


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    is_failure: IsFailure | None = None,
    description: str | None = None,
    store: ExecutionStore | None = None,
    recorder: Recorder | None = None,
    name: str | None = None,
    version: VersionNumber | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    is_failure: IsFailure | None = None,
    description: str | None = None,
    store: ExecutionStore | None = None,
    recorder: Recorder | None = None,
    name: str | None = None,
    version: VersionNumber | None = None,
) -> F | Callable[[F], F]:
    """Mark the function of a file that is its tool; with `store`, make a function of any program record its calls.

    Without `store` or `recorder` the function itself is returned unchanged. With one of them it runs as before, its
    result and its exceptions are the same, and each call is recorded as `registry.call` would record it. Called by a
    registry, it is recorded by the registry alone.

    Args:
        is_failure: called with what the tool returned; True counts the call as failed. For tools that return an error
            instead of raising it. A `FailureRule` may be given.
        description: what the tool does, where the docstring does not say it.
        store: where its calls are recorded.
        recorder: records its calls, in place of `store`: `registry.recorder`, or one made with other options.
        name: what its calls are recorded under; the function's own name by default.
        version: the number of the version that runs, or a function without parameters that tells it at each call.

    Raises:
        InvalidInput: something else than a function or a class is marked, or a value is invalid.
    """
    if function is not None and not callable(function):
        raise InvalidInput(f"@tool marks a function or a class, not {function!r}; its options are given by name")
    if store is not None and recorder is not None:
        raise InvalidInput("@tool records to a store or by a recorder; give one of store and recorder")
    if store is None and recorder is None and (name is not None or version is not None):
        raise InvalidInput("@tool records nothing without a store, so name and version mean nothing; give store=...")

    def mark(marked: F) -> F:
        records = recorder if store is None else recorder_of(store)
        if records is None:
            setattr(marked, _MARK, Mark(is_failure, description))
            return marked
        judges = () if is_failure is None else (is_failure,)
        made = self_recording(marked, records, name=name, version=version, judges=judges)
        setattr(made, _MARK, Mark(is_failure, description, recorded=marked))
        return made

    return mark if function is None else mark(function)


def mark_of(candidate: object) -> Mark | None:
    """The mark that `@tool` left, if it did."""
    mark = getattr(candidate, _MARK, None)
    return mark if isinstance(mark, Mark) else None


@dataclass(frozen=True, slots=True)
class FailureRule:
    """Which returned results count as failures, declared in settings instead of in the tool.

    Attributes:
        keys: a result that is a mapping with one of these keys and a true value under it failed, as
            `{"error": "no such city"}` does under the key `error`.
        values: a result that is a mapping with one of these values under the key failed, as `{"ok": False}` does
            under `{"ok": [False]}`.
    """

    keys: tuple[str, ...] = ()
    values: Mapping[str, tuple[Any, ...]] | None = None

    def __call__(self, result: Any) -> bool:
        if not isinstance(result, Mapping):
            return False
        if any(result.get(key) for key in self.keys):
            return True
        return any(key in result and _among(result[key], bad) for key, bad in (self.values or {}).items())

    @classmethod
    def from_settings(cls, key: str, setting: Mapping[str, Any]) -> FailureRule:
        """The rule written as `{keys = ["error"], values = {ok = [false]}}`.

        Raises:
            InvalidSetting: it is written differently; `key` is named.
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
    """What says failure where one of the two does."""
    if first is None or second is None:
        return first or second
    return lambda result: first(result) or second(result)


def _among(value: Any, bad: Iterable[Any]) -> bool:
    # In Python 1 == True; in a setting they are meant apart.
    return any(type(value) is type(one) and value == one for one in bad)
