"""parcel_price: what it costs to send a parcel."""

BASE = {"AT": 4.90, "DE": 5.50, "NO": 9.90}
PER_KG = 1.20


def parcel_price(weight_kg: float, country: str) -> float:
    """Return what it costs to send a parcel, in euros.

    Args:
        weight_kg: The weight of the parcel in kilograms.
        country: The two letters of the country it goes to.
    """
    return round(BASE[country] + PER_KG * weight_kg, 2)
