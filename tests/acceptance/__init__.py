"""What the contract promises, told as stories through the public API, on every database."""
