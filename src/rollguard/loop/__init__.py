"""The autonomous loop: its stages, again and again."""
