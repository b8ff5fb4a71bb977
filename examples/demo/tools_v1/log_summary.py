"""log_summary: what a web server's access log says about a part of a site."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

# The "combined" format of Apache and nginx.
_LINE = re.compile(
    r'(?P<address>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>[A-Z]+) (?P<path>\S+) [^"]*" '
    r"(?P<status>\d{3}) (?P<size>\d+|-)"
)
_UNREADABLE = 0.1  # noise is normal in a log; above this share it is not an access log


class LogError(ValueError):
    """The file is not an access log."""


def log_summary(file: str, prefix: str = "/") -> dict[str, Any]:
    """Count requests, errors and bytes in an access log.

    Args:
        file: a log in the combined format.
        prefix: count only requests whose path begins with this.

    Returns:
        requests, visitors (different addresses), statuses (requests for each), server_errors, error_rate, bytes,
        busiest (the five most requested paths, without their queries) and unreadable (lines that are no requests).

    Raises:
        LogError: the file is empty or more than a tenth of its lines cannot be read.
    """
    lines = Path(file).read_bytes().decode("utf-8", "replace").splitlines()
    found = [match for line in lines if (match := _LINE.match(line))]
    unreadable = len(lines) - len(found)
    if not lines or unreadable > _UNREADABLE * len(lines):
        raise LogError(f"not an access log: {unreadable} of {len(lines)} lines cannot be read")
    hits = [match for match in found if match["path"].startswith(prefix)]
    statuses = Counter(match["status"] for match in hits)
    server_errors = sum(count for status, count in statuses.items() if status.startswith("5"))
    paths = Counter(match["path"].partition("?")[0] for match in hits)
    return {
        "requests": len(hits),
        "visitors": len({match["address"] for match in hits}),
        "statuses": dict(sorted(statuses.items())),
        "server_errors": server_errors,
        "error_rate": server_errors / len(hits) if hits else 0.0,
        "bytes": sum(int(match["size"]) for match in hits if match["size"] != "-"),
        "busiest": paths.most_common(5),
        "unreadable": unreadable,
    }
