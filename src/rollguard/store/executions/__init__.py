"""Executions: checked, written once each, counted."""
