"""What an amount of an invoice is without its tax."""


def net_amount(amount: str) -> dict:
    """Return an amount without 19 % tax."""
    gross = float(amount)
    return {"net": round(gross / 1.19, 2)}
