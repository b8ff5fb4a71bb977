"""Which parameters of a tool are recorded, and whether its results are."""

from __future__ import annotations

from collections.abc import Callable
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
    """

    __slots__ = ("_found", "_function", "_left_out", "_record", "_skip", "result")

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        record: tuple[str, ...] | None = None,
        skip: tuple[str, ...] = (),
        *,
        result: bool = True,
    ) -> None:
        self._function, self._record, self._skip, self.result = function, record, frozenset(skip), result
        self._left_out: frozenset[str] | None = None
        self._found = Injected()

    def parted(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        """Return the parameters of a call that are recorded, and the values that the user wants left out."""
        left_out = self._left_out
        if left_out is None:
            left_out = self._learn()
        if self._record is None:
            for name, value in parameters.items():
                if name in left_out or (type(value) not in _JSON and not self._is_recorded(name, value)):
                    break
            else:
                return parameters, []
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
        if self._left_out is not None and name in self._left_out:
            return False
        kind: Any = type(value)
        return kind in _JSON or is_data(kind) or (name in self._found.described and has_json(kind))

    def _learn(self) -> frozenset[str]:
        if self._function is not None:
            self._found = injected_into(self._function)
        self._left_out = self._found.names | self._skip
        return self._left_out


KEPT = Kept()
"""Records everything that has a form in JSON."""


def kept_of(function: Callable[..., Any], mark: Mark | None) -> Kept:
    """Return what of the calls of a function is recorded, by its annotations and its `@tool`."""
    if mark is None:
        return Kept(function)
    return Kept(function, mark.record, mark.skip, result=mark.record_result)
