"""`python -m examples.captures PREFIX [--width N]`: pictures of what commands show, made by running them."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from examples.captures import scene

COMMANDS = {
    "status": "status",
    "tools": "tools",
    "calls": "calls invoice_total --failed --limit 6",
    "show": "show invoice_total",
    "versions": "versions invoice_total",
    "explain": "explain invoice_total",
    "diff": "diff invoice_total",
    "sessions": "sessions",
    "rollbacks": "rollbacks",
    "health": "health weather",
}


def picture(folder: Path, words: str, width: int) -> str:
    """Run one command as at a terminal of that width, and return what it shows as SVG."""
    environment = os.environ | {"COLUMNS": str(width), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    ran = subprocess.run(
        [sys.executable, "-m", "rollguard", *words.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shown = Text.from_ansi(f"$ rollguard {words}\n{ran.stdout}{ran.stderr}".rstrip())
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(shown, soft_wrap=True)
    return console.export_svg(title=f"{width} columns", unique_id=f"c{width}")


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(prog="python -m examples.captures", description=__doc__)
    parser.add_argument("prefix", help="where the pictures go, and how their names begin")
    parser.add_argument("--width", type=int, default=100, help="columns of the terminal (default 100)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollguard-captures-") as made:
        scene.made(Path(made), scene.now())
        for name, words in COMMANDS.items():
            Path(f"{given.prefix}{name}.svg").write_text(picture(Path(made), words, given.width), "utf-8")


if __name__ == "__main__":
    main()
