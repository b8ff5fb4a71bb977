"""Check executions, write each once, and count them."""
