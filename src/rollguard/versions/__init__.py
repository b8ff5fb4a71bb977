"""List, compare and restore the versions of a tool."""
