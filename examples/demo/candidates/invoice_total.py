"""invoice_total: what an invoice in CSV comes to, checked line by line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


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
    total = round(sum(_line_amount(line) for line in lines), 2)
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


def parse_amount(text: str) -> float:
    """The amount in a cell. One strip and one float() instead of two regular expressions and a Decimal."""
    return round(float(text.strip("€£$¥₹ ").replace(",", "")), 2)


def _line_amount(line: dict[str, str]) -> float:
    """The line's amount, once quantity, unit price and discount have confirmed it."""
    amount = parse_amount(line["amount"])
    computed = round(int(line["quantity"]) * parse_amount(line["unit price"]) - parse_amount(line["discount"]), 2)
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
