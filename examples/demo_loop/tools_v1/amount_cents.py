"""What an amount of an invoice is in cents."""


def amount_cents(amount: str) -> dict:
    """Return an amount in cents, as the bookkeeping wants it."""
    return {"cents": round(float(amount) * 100)}
