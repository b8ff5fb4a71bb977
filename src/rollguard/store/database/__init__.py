"""Connections, dialects and what differs between them."""
