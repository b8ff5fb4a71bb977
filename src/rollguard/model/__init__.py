"""The words of the domain, frozen, each declared once."""
