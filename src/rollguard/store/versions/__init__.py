"""Versions, which of them is live, and what is quarantined."""
