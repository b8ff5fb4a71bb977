"""What is to be paid of an amount within ten days."""


def early_payment(amount: str) -> dict:
    """Return an amount less 3 % for an early payment."""
    due = float(amount)
    return {"due": round(due * 0.97, 2)}
