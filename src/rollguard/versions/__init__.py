"""Every version of a tool, and the way back to any of them."""
