"""`python -m rollguard`."""

from __future__ import annotations

import sys

from rollguard.cli import main

if __name__ == "__main__":
    sys.exit(main())
