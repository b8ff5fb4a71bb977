"""The log of commands that run until they are stopped."""

from __future__ import annotations

import logging
import sys


def log_lines() -> logging.Handler:
    """Return a handler that writes coloured lines to a terminal, or lines with their time to a log file."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True), show_path=False, highlighter=NullHighlighter(), log_time_format="%X"
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    return handler
