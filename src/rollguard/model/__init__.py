"""The records of the domain: frozen dataclasses, each declared once."""
