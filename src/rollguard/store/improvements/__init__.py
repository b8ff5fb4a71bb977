"""Attempts of the autonomous loop to improve tools: their states, events, limits and counters."""
