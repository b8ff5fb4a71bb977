"""Evaluate rules: exact risks and delays, simulated calls, and backtests on past deployments.

All but `backtest` and `simulator` are pure and need only `rollguard.judge`: no clock, no I/O, no database.
"""
