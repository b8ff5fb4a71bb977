"""Redact secrets: values under names that look like secrets, texts that look like them, and what the user names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import translate
from itertools import pairwise

from rollguard.errors import InvalidInput

REDACTED = "***"

# A name is split into words: `apiKey`, `x-api-key` and `API_KEY` all have the words `api` and `key`.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = frozenset(
    [
        "apikey",
        "authorization",
        "bearer",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "jwt",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "privatekey",
        "pwd",
        "secret",
        "secrets",
        "secretkey",
        "token",
    ]
)
_SECRET_PAIRS = frozenset(
    f"{first} {second}"
    for first in ("access", "api", "auth", "encryption", "private", "secret", "signing", "ssh")
    for second in ("key", "keys")
) | {"connection string", "pass phrase", "pass word"}
_SECRET_LISTS = frozenset(f"{which} tokens" for which in ("access", "api", "auth", "bearer", "refresh", "session"))
_NO_SECRET = frozenset(
    [
        "budget",
        "continuation",
        "count",
        "id",
        "length",
        "limit",
        "name",
        "next",
        "number",
        "page",
        "sync",
        "type",
        "usage",
    ]
)

_TEXTS = re.compile(
    r"(?P<url>(?<=://)[^/\s:@]*:[^/\s@]+(?=@))"  # user:password@
    r"|(?P<pem>-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z))"
    r"|(?P<bearer>(?i:\bbearer\s+)[\w.~+/=-]{12,})"
    r"|(?P<known>\b(?:(?:sk|pk|rk)[-_][\w-]{16,}|gh[opsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+))"
    r"|(?P<name>\b[A-Za-z][\w-]{2,60})(?P<between>[\"']?\s*[:=]\s*)(?!//)(?P<value>(?i:(?:basic|bearer|token)\s+)?"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&)}\]\"']+))"
)
_SHORTEST = 4  # characters of a secret that is looked for in other texts
_LONGEST_NAME, _MOST_NAMES = 100, 4_096  # of the names whose answer is kept
_LONGEST_TEXT = 65_536  # characters of a text that are looked through; errors are stored shorter


class Redaction:
    """Knows which names and texts are secrets. It is cheap to ask again and again, from many threads.

    Args:
        names: further names of parameters, keys and fields whose values are secrets; `*` stands for any characters,
            and case does not count.
        patterns: regular expressions; what they match in a text is a secret.
        defaults: False leaves out the names and texts that Rollguard itself takes for secrets.

    Raises:
        InvalidInput: a pattern is no regular expression, or matches the empty text.

    Attributes:
        patterned: whether texts inside parameters and results are looked through for patterns.
        known_names: names that are no secrets, as found out so far.
    """

    def __init__(self, names: Iterable[str] = (), patterns: Iterable[str] = (), *, defaults: bool = True) -> None:
        self._defaults = defaults
        own = [translate(name.casefold()) for name in names]
        self._own = re.compile("|".join(own)) if own else None
        self._patterns = [_compiled(number, pattern) for number, pattern in enumerate(patterns, start=1)]
        self.patterned = bool(self._patterns)
        self.known_names: set[str] = set()
        self._hidden: set[str] = set()

    def hides(self, name: str) -> bool:
        """Return whether the value under a name is a secret."""
        if name in self.known_names:
            return False
        if name in self._hidden:
            return True
        hidden = self._is_secret(name[:_LONGEST_NAME])
        kept = self._hidden if hidden else self.known_names
        if len(name) <= _LONGEST_NAME and len(kept) < _MOST_NAMES:
            kept.add(name)
        return hidden

    def _is_secret(self, name: str) -> bool:
        if self._own is not None and self._own.match(name.casefold()):
            return True
        if not self._defaults:
            return False
        words = [word.lower() for word in _WORDS.findall(name)]
        if not _NO_SECRET.isdisjoint(words):
            return False
        pairs = {f"{first} {second}" for first, second in pairwise(words)}
        return not (_SECRET.isdisjoint(words) and _SECRET_PAIRS.isdisjoint(pairs) and _SECRET_LISTS.isdisjoint(pairs))

    def value(self, text: str) -> str:
        """Return a text inside parameters or a result without what the user's patterns match."""
        for pattern in self._patterns:
            text = pattern.sub(REDACTED, text)
        return text

    def found(self, text: str) -> Iterator[str]:
        """Yield the secrets in a text that are known by their own form, such as a private key, and the user's."""
        if self._defaults:
            for match in _TEXTS.finditer(text):
                yield from [match[0]] if match["name"] is None else self.found(match["value"])
        for pattern in self._patterns:
            yield from (match[0] for match in pattern.finditer(text) if match[0])

    def text(self, text: str, secrets: Iterable[str] = ()) -> str:
        """Return the text of an error without secrets.

        Args:
            text: such as an exception's message, or a traceback.
            secrets: what is known to be secret, such as the redacted parameters of the call.
        """
        if len(text) > _LONGEST_TEXT:
            text = f"{text[:_LONGEST_TEXT]}… ({len(text)} characters)"
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, REDACTED)
        if self._defaults:
            text = _TEXTS.sub(self._without, text)
        return self.value(text)

    def _without(self, match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return REDACTED
        if self.hides(name):
            return f"{name}{match['between']}{REDACTED}"
        return f"{name}{match['between']}{_TEXTS.sub(self._without, match['value'])}"


def _compiled(number: int, pattern: str) -> re.Pattern[str]:
    """Compile a pattern. An error does not show it, because it may be a secret itself."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"patterns: entry {number} is no regular expression: {error.msg}") from None
    if found.fullmatch("") is not None:
        raise InvalidInput(f"patterns: entry {number} matches the empty text")
    return found


DEFAULT = Redaction()
"""What is taken for a secret without any setting."""
