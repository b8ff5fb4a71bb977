"""Watch weak tools being repaired, and wrong repairs being stopped: `make demo-loop`."""
