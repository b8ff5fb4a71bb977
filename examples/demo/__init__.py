"""A bad deployment, found and rolled back while an agent keeps working. Run it with `python -m examples.demo`."""
