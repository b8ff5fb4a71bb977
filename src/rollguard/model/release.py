"""Releases: one or several tools that go live together, under a label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rollguard.errors import InvalidInput

MAX_LABEL = 128


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Attributes:
        label: names it, such as a git revision, a tag or an image; unique in the store.
        kind: `tools` of a folder or of targets, or functions of a `program`.
        state: `live`, or `rolled_back` from the decision on.
        metadata: the caller's own values.
    """

    release_id: int
    label: str
    kind: str
    state: str
    metadata: dict[str, Any]
    created_by: str
    reason: str | None
    released_at: datetime


@dataclass(frozen=True, slots=True)
class ReleasedTool:
    """A tool of a release.

    Attributes:
        version_number: the version that the release made live, or found live.
        before_version: what was live before; None if the release added the tool.
        changed: whether the release made the version live.
        way_back: whether a rollback can put an earlier version in its place.
    """

    tool_name: str
    version_number: int
    before_version: int | None
    changed: bool
    way_back: bool = True


def checked_label(label: object) -> str:
    """Return a release's label if it is valid: 1 to 128 printable characters that are not a number.

    Raises:
        InvalidInput: it is invalid.
    """
    fits = isinstance(label, str) and label == label.strip() and 0 < len(label) <= MAX_LABEL and label.isprintable()
    if not isinstance(label, str) or not fits:
        raise InvalidInput(f"label: {label!r} is not a label; give 1 to {MAX_LABEL} printable characters")
    if label.isdecimal():
        raise InvalidInput(f"label: {label!r} could be a version's number; put something before it, such as v{label}")
    return label


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a release's metadata if it is a JSON object.

    Raises:
        InvalidInput: it is none.
    """
    try:
        kept = json.loads(json.dumps(dict(metadata or {}), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata: {error}; give a mapping with values of JSON") from error
    return dict(kept)
