"""Say why a proposed source is no candidate at all. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from rollguard.compat import LARGEST, Form, changes, form_of, too_large
from rollguard.improve.brief import Brief


def problems_of(source: bytes, brief: Brief) -> Iterator[str]:
    """Yield why a source is no candidate at all, before anything rehearses it."""
    sha256 = hashlib.sha256(source).hexdigest()
    live = brief.restored(brief.source.encode())
    if len(source) > LARGEST:
        yield f"the candidate {too_large(len(source)).says}"
    elif source == live:
        yield "it changes nothing"
    elif any(attempt.sha256 == sha256 for attempt in brief.attempts):
        yield "the same source was refused before"
    elif (form := form_of(source, brief.tool_name)).form is not Form.TOOL:
        yield f"the candidate {form.says}"
    else:
        for change in changes(live, source, brief.tool_name):
            if change.breaking:
                yield f"callers would break: {change.sentence}"
