"""invoice_total: what an invoice in CSV comes to, checked line by line."""

from __future__ import annotations

import csv
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

_NOT_PART_OF_A_NUMBER = re.compile(r"[^\d.,-]")
_CENTS = re.compile(r"[.,](\d{1,2})$")


class InvoiceError(ValueError):
    """The file is not an invoice whose figures add up."""


def invoice_total(file: str) -> dict[str, Any]:
    """Add up an invoice, and check each line and the sum against what the supplier states.

    Args:
        file: a CSV file with the columns item, quantity, unit price, discount and amount, a last row `Total`, and
            lines such as `# Currency: EUR` in front.

    Returns:
        invoice, supplier, currency, lines (how many) and total (as text with two decimals).

    Raises:
        InvoiceError: something is missing or does not add up. The invoice must not be paid before a person has looked.
    """
    about, rows = _read(Path(file))
    *lines, last = rows or [{}]
    if last.get("item") != "Total":
        raise InvoiceError(f"no row 'Total' at the end, so the file may be cut short after {len(rows)} rows")
    total = sum((_line_amount(line) for line in lines), Decimal(0))
    stated = parse_amount(last["amount"])
    if total != stated:
        raise InvoiceError(f"the lines add up to {total:.2f}, the invoice states {stated:.2f}")
    return {
        "invoice": about.get("Invoice"),
        "supplier": about.get("Supplier"),
        "currency": about.get("Currency"),
        "lines": len(lines),
        "total": f"{total:.2f}",
    }


def parse_amount(text: str) -> Decimal:
    """The amount in a cell, however its supplier writes it; an empty cell is nothing.

    1,234.50 and 1.234,50 and 1 234,50 € and 1'234.50 are the same amount. A last group of one or two digits is cents,
    a group of three is thousands.
    """
    digits = _NOT_PART_OF_A_NUMBER.sub("", text)
    if not digits:
        if text.strip():
            raise InvoiceError(f"{text!r} is not an amount")
        return Decimal(0)
    cents = _CENTS.search(digits)
    whole = digits[: cents.start()] if cents else digits
    return Decimal(f"{whole.replace(',', '').replace('.', '')}.{cents[1] if cents else '0'}")


def _line_amount(line: dict[str, str]) -> Decimal:
    """The line's amount, once quantity, unit price and discount have confirmed it."""
    amount = parse_amount(line["amount"])
    computed = int(line["quantity"]) * parse_amount(line["unit price"]) - parse_amount(line["discount"])
    if computed != amount:
        raise InvoiceError(f"{line['item']!r} comes to {computed:.2f}, its line states {amount:.2f}")
    return amount


def _read(path: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What the lines in front say, and the rows of the table."""
    text = path.read_text("utf-8").splitlines()
    about = dict(line[1:].strip().split(": ", 1) for line in text if line.startswith("#"))
    table = [line for line in text if not line.startswith("#")]
    if not table:
        raise InvoiceError("there is no table in the file")
    delimiter = max(";,\t", key=table[0].count)
    return about, list(csv.DictReader(table, delimiter=delimiter, restval=""))
