"""What a rule risks and how soon it acts: exactly, by following every path, and on simulated streams of calls.

Pure, and on top of `rollguard.judge` alone: no clock, no I/O, no database.
"""
