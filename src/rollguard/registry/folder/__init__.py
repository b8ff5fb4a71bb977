"""The folder of tools: its files, its journal of swaps, and its state as a replica."""
