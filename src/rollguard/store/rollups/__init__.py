"""Rollups: exact counts at a cost that does not grow with the history."""
