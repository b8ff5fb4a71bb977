"""The folder of tools: its files, its marks, what follows it."""
