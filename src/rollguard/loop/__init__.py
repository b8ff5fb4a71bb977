"""The autonomous loop and its stages."""
