"""Sessions and their checks."""
