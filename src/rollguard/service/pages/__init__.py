"""The pages: what is monitored, how it does, what was rolled back and why; and what a person may do about it."""

from rollguard.service.pages.routes import add_to

__all__ = ["add_to"]
