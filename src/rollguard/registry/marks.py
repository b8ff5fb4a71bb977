"""`@tool` and what a tool may say about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from rollguard.errors import InvalidInput, InvalidSetting

F = TypeVar("F", bound=Callable[..., Any])
IsFailure = Callable[[Any], bool]

_MARK = "__rollguard_tool__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@tool` notes on a function."""

    is_failure: IsFailure | None = None
    description: str | None = None


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, is_failure: IsFailure | None = None, description: str | None = None) -> Callable[[F], F]: ...
def tool(
    function: F | None = None, /, *, is_failure: IsFailure | None = None, description: str | None = None
) -> F | Callable[[F], F]:
    """Mark the function of a file that is its tool. The function itself is returned unchanged.

    Args:
        is_failure: called with what the tool returned; True counts the call as failed. For tools that return an error
            instead of raising it.
        description: what the tool does, where the docstring does not say it.

    Raises:
        InvalidInput: something else than a function or a class is marked.
    """
    if function is not None and not callable(function):
        raise InvalidInput(f"@tool marks a function or a class, not {function!r}; its options are given by name")

    def mark(marked: F) -> F:
        setattr(marked, _MARK, Mark(is_failure, description))
        return marked

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


def _among(value: Any, bad: Iterable[Any]) -> bool:
    # In Python 1 == True; in a setting they are meant apart.
    return any(type(value) is type(one) and value == one for one in bad)
