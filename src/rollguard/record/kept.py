"""Which parameters of a tool are recorded, and whether its results are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rollguard.record.decorator import Mark
from rollguard.record.injected import Injected, has_json, injected_into, is_data

_JSON = frozenset({str, int, float, bool, type(None), dict, list})


class Kept:
    """Decides what of a call is recorded. The function's annotations are read at its first call with parameters.

    Args:
        function: what is called; None if nothing is known of it.
        record: names of the parameters to record, and no others; None decides by their annotations and values.
        skip: names of parameters to leave out.
        result: whether results are recorded.

    Attributes:
        left_out: names that are not recorded, once they are known; None if only the names of `record` are recorded.
    """

    __slots__ = ("_found", "_function", "_names", "_record", "_skip", "left_out", "result")

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        record: tuple[str, ...] | None = None,
        skip: tuple[str, ...] = (),
        *,
        result: bool = True,
    ) -> None:
        self._function, self._record, self._skip, self.result = function, record, frozenset(skip), result
        self.left_out: frozenset[str] | None = None
        self._names: frozenset[str] | None = None
        self._found = Injected()

    def parted(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Any]]:
        """Return the parameters of a call that are recorded, and the values that the user wants left out."""
        if self._names is None:
            self._names = self._learn()
        recorded: dict[str, Any] = {}
        others: list[Any] = []
        for name, value in parameters.items():
            if self._is_recorded(name, value):
                recorded[name] = value
            elif name in self._skip or name not in self._found.names:
                others.append(value)
        return recorded, others

    def _is_recorded(self, name: str, value: Any) -> bool:
        if self._record is not None:
            return name in self._record
        if self._names is not None and name in self._names:
            return False
        kind: Any = type(value)
        try:
            return kind in _JSON or is_data(kind) or (name in self._found.described and has_json(kind))
        except Exception:  # noqa: BLE001 - a class of a metaclass of the tool's own
            return False

    def _learn(self) -> frozenset[str]:
        if self._function is not None:
            self._found = injected_into(self._function)
        names = self._found.names | self._skip
        self.left_out = None if self._record is not None else names
        return names


KEPT = Kept()
"""Records everything that has a form in JSON."""


def kept_of(function: Callable[..., Any], mark: Mark | None) -> Kept:
    """Return what of the calls of a function is recorded, by its annotations and its `@tool`."""
    if mark is None:
        return Kept(function)
    return Kept(function, mark.record, mark.skip, result=mark.record_result)
