"""From a file's bytes to a tool that can be called."""
