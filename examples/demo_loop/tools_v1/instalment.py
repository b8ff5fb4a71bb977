"""What is to be paid of an amount each month of a year."""


def instalment(amount: str) -> dict:
    """Return a twelfth of an amount."""
    total = float(amount)
    return {"monthly": round(total / 12, 2)}
