"""Encode executions: from what a program gives to what is stored, without a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollguard.errors import InvalidInput
from rollguard.model.execution import Columns, Execution, checked, checked_exactly
from rollguard.model.failed_at import where_failed
from rollguard.model.redaction import Redaction
from rollguard.store.executions.complete import complete, complete_call, stored_place
from rollguard.store.executions.payloads import Payloads

AT_ONCE = 200  # executions that are checked and converted together; they stay in memory


class Encoding:
    """Makes complete executions.

    Args:
        payloads: how parameters, results and errors are stored.
    """

    def __init__(self, payloads: Payloads) -> None:
        self._payloads, self.is_simple = payloads, payloads.is_simple

    @property
    def redaction(self) -> Redaction:
        """Return what is a secret in them."""
        return self._payloads.redaction

    def row(self, **execution: Any) -> Execution:
        """Return the complete execution with these fields, ready to be written now or later.

        Raises:
            InvalidInput: a field is unknown, missing or invalid; the message names it.
        """
        (row,) = zip(*complete(checked([execution]), self._payloads), strict=True)
        return Execution._make(row)

    def rows(self, executions: Sequence[Mapping[str, Any]]) -> list[Execution | InvalidInput]:
        """Return the complete execution of each mapping, as `row` does, or what is wrong with it."""
        found: list[Execution | InvalidInput] = []
        for start in range(0, len(executions), AT_ONCE):
            some = executions[start : start + AT_ONCE]
            try:
                found += map(Execution._make, zip(*complete(checked(some), self._payloads), strict=True))
            except InvalidInput:
                found += map(self._row_or_problem, some)
        return found

    def exact_rows(self, columns: Columns) -> list[Execution]:
        """Return the complete executions of values given field by field, each of exactly the type of its field.

        Raises:
            ValueError: a value is invalid, or of another type.
        """
        return list(map(Execution._make, zip(*complete(checked_exactly(columns), self._payloads), strict=True)))

    def _row_or_problem(self, execution: Mapping[str, Any]) -> Execution | InvalidInput:
        try:
            return self.row(**execution)
        except InvalidInput as problem:
            return problem

    def of_call(self, note: Sequence[Any]) -> Execution:
        """Return the complete execution of a call that Rollguard recorded; see `complete_call`."""
        return complete_call(note, self._payloads)

    def encoded(self, tool_name: str, what: str, value: Any, left_out: Iterable[Any] = ()) -> str | None:
        """Return parameters or a result as they are stored: JSON, redacted, cut to the limit; None for no value.

        Args:
            left_out: values beside it that are not stored, and may not be in the call's error either.
        """
        return self._payloads.encode(tool_name, what, value, left_out)

    def error_text(self, text: str, parameters: object) -> str:
        """Return the text of a call's error as it is stored: redacted, beside its encoded parameters."""
        return self._payloads.error(text, parameters)

    def place(self, error: BaseException, parameters: object) -> tuple[str | None, str | None]:
        """Return where a call failed as it is stored: the frame as JSON, and the traceback."""
        return stored_place(*where_failed(error), parameters, self._payloads)
