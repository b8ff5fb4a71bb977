"""Render a page: one environment of templates that escape everything, and the headers that every page has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from rollguard.model import formatting
from rollguard.model.text import printable
from rollguard.service.auth import Caller
from rollguard.service.pages import chart

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No script, style, picture or form of anybody else, and no page of anybody else around ours."""

VERDICTS = {
    "healthy": ("good", "healthy"),
    "regressed": ("bad", "regressed"),
    "insufficient_data": ("quiet", "too few calls"),
    "external": ("warn", "outside cause"),
    "error": ("bad", "check failed"),
    "not checked yet": ("quiet", "not checked yet"),
    "check failed": ("bad", "check failed"),
    "outside cause": ("warn", "outside cause"),
    "rolled back": ("warn", "rolled back"),
    "too few calls": ("quiet", "too few calls"),
    "live": ("plain", "live"),
    "recorded only": ("quiet", "recorded only"),
    "active": ("good", "active"),
    "completed": ("plain", "completed"),
    "rolled_back": ("warn", "rolled back"),
    "superseded": ("quiet", "superseded"),
    "cancelled": ("quiet", "cancelled"),
    "unproven": ("quiet", "unproven"),
    "claimed": ("warn", "decided"),
    "restored": ("warn", "restored, not yet recorded"),
    "finished": ("good", "finished"),
    "failed": ("bad", "failed"),
    "observed": ("warn", "observed only"),
    "capped": ("bad", "capped"),
    "overtaken": ("quiet", "overtaken"),
    "found": ("quiet", "found"),
    "investigated": ("quiet", "investigated"),
    "proposed": ("quiet", "proposed"),
    "waiting": ("warn", "waiting for you"),
    "approved": ("good", "approved"),
    "deploying": ("good", "being deployed"),
    "watching": ("good", "deployed and monitored"),
    "succeeded": ("good", "succeeded"),
    "refused": ("bad", "refused"),
    "void": ("quiet", "void"),
    "dropped": ("quiet", "dropped"),
    "fixed": ("good", "fixed"),
    "broken": ("bad", "broken"),
    "changed": ("warn", "changed"),
    "same": ("quiet", "the same"),
    "promoted": ("good", "promoted"),
    "ramping": ("good", "ramping"),
    "frozen": ("warn", "frozen"),
    "paused": ("quiet", "paused"),
    "aborted": ("quiet", "aborted"),
}
"""How a state looks, and what it is called, by the name that the database has for it."""


STAGES = frozenset({"find", "investigate", "improve", "rehearse", "approve", "deploy", "watch", "maintenance"})
"""The stages of the loop, which act by themselves; everybody else in a time line is a person."""


EVENTS = {
    "find": "Found",
    "investigate": "Investigated",
    "propose": "Proposed",
    "rehearse": "Rehearsed",
    "retry": "Sent back",
    "vote": "Voted for",
    "approve": "Approved",
    "intend": "Deployment begun",
    "deploy": "Deployed",
    "succeed": "Found to have succeeded",
    "end": "Ended without enough calls",
    "roll_back": "Rolled back",
    "drop": "Dropped",
    "refuse": "Refused",
    "fail": "Given up",
    "void": "Ended",
    "freeze": "Frozen",
    "unfreeze": "Unfrozen",
}
"""What an event of an attempt is called, before `by` and who did it."""


def page(request: Request, template: str, /, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page.

    Args:
        template: the name of its file, without the ending.
        values: what it shows.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    now = datetime.now(UTC)
    text = (
        _environment()
        .get_template(f"{template}.html")
        .render(
            root=request.scope.get("root_path", ""),
            here=request.url.path,
            caller=caller,
            may=frozenset() if caller is None else caller.scopes,
            form_token=getattr(request.state, "form_token", ""),
            logged_in=getattr(request.state, "logged_in", False),
            now=now,
            **values,
        )
    )
    return HTMLResponse(text, status, {**HEADERS, "Cache-Control": "no-store"})


def link(root: str, path: str, **query: object) -> str:
    """Return the address of a page behind a prefix; what is None is left out."""
    given = urlencode({name.rstrip("_"): value for name, value in query.items() if value is not None})
    return f"{root}{path}{'?' + given if given else ''}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("rollguard.service.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.globals.update(link=link, chart=chart, states=VERDICTS, version_of_files=_version_of_files())
    made.globals.update(
        percent_of=formatting.percent, ms_of=formatting.milliseconds, no_time=timedelta(0), stages=STAGES, events=EVENTS
    )
    made.filters.update(
        ago=_ago,
        at=_at,
        percent=formatting.percent,
        points=formatting.drop_points,
        ms=formatting.milliseconds,
        number=lambda value: formatting.NOTHING if value is None else f"{value:,}",
        counted=formatting.counted,
        duration=formatting.duration,
        change=formatting.change_percent,
        error=_error,
        cut=_cut,
        sentence=lambda text: text[:1].upper() + text[1:],
    )
    return made


def _version_of_files() -> str:
    """Return what changes with the static files, so that a browser keeps them until they do."""
    import hashlib

    found = hashlib.sha256()
    for file in sorted(files("rollguard.service.pages").joinpath("static").iterdir(), key=lambda file: file.name):
        found.update(file.read_bytes())
    return found.hexdigest()[:12]


def _shown(value: Any) -> Any:
    """Neutralise what would reorder or hide text, in everything that a template shows."""
    if value is None:
        return formatting.NOTHING
    if callable(value):
        raise TypeError(f"a template shows {value!r}, which is no value")
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _at(value: datetime | None, *, short: bool = False) -> Markup | str:
    """Write a moment in UTC."""
    if value is None:
        return formatting.NOTHING
    text = value.astimezone(UTC).strftime("%b %d, %H:%M" if short else "%b %d, %H:%M:%S")
    return _time(value, text)


def _ago(value: datetime | None, now: datetime) -> Markup | str:
    """Write how long ago a moment is; the moment itself is its title."""
    return formatting.NOTHING if value is None else _time(value, formatting.ago(value, now))


def _time(value: datetime, text: str) -> Markup:
    moment = value.astimezone(UTC)
    return Markup('<time datetime="{}" title="{:%Y-%m-%d %H:%M:%S} UTC">{}</time>').format(
        moment.isoformat(), moment, text
    )


def _error(kind: Mapping[str, Any]) -> str:
    """Return the latest text of a kind of errors, else its signature."""
    samples = kind.get("samples") or ()
    return str(samples[0].get("error") or kind["signature"]) if samples else str(kind["signature"])


def _cut(text: object, length: int = 160) -> str:
    """Return at most so many characters of a text."""
    whole = str(text)
    return whole if len(whole) <= length else f"{whole[: length - 1]}…"
