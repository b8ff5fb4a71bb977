"""Releases: several tools that go live together, and are rolled back as one."""
