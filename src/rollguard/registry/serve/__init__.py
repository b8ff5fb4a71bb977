"""Load, describe and serve tools."""
