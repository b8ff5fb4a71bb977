"""Undo one change of a source and keep those made since: a merge of three versions by lines. Pure."""

from __future__ import annotations

from difflib import SequenceMatcher

_Hunk = tuple[int, int, int, int]


def undone(before: bytes, after: bytes, now: bytes) -> bytes | None:
    """Return what is there now without the change from `before` to `after`; None if later changes touch the same lines.

    Args:
        before, after: the source before the change, and with it.
        now: the source that came from `after`.
    """
    old, base, merged = (source.splitlines(keepends=True) for source in (before, after, now))
    later = _hunks(base, merged)
    for start, end, first, last in reversed(_hunks(base, old)):
        if any(start <= to and begin <= end for begin, to, *_ in later):
            return None
        moved = sum((there - here) - (to - begin) for begin, to, here, there in later if to < start)
        merged[start + moved : end + moved] = old[first:last]
    return b"".join(merged)


def _hunks(one: list[bytes], other: list[bytes]) -> list[_Hunk]:
    """Return the lines of one that other ones replace: from, to, and from, to in the other."""
    matched = SequenceMatcher(None, one, other, autojunk=False)
    return [(i, j, k, n) for tag, i, j, k, n in matched.get_opcodes() if tag != "equal"]
