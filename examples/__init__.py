"""Examples of Rollguard at work."""
