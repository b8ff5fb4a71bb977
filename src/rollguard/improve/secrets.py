"""Replace secrets in a source by placeholders, so that an author can work on it and never sees them. Pure."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from rollguard.compat.scope import parsed
from rollguard.model.redaction import Redaction

_SHORTEST = 4  # characters of a text that may be a secret
_PLACEHOLDER = "rollguard-secret-{}"


def hidden_in(source: str, redaction: Redaction) -> dict[str, str]:
    """Return the secrets of a source by the placeholders that stand for them.

    They are texts that look like secrets, and constants that are assigned to names of secrets.
    """
    found = dict.fromkeys((*redaction.found(source), *_named(source, redaction)))
    secrets = [secret for secret in sorted(found, key=len, reverse=True) if len(secret) >= _SHORTEST]
    free = (text for number in range(1, 10_000) if (text := _PLACEHOLDER.format(number)) not in source)
    return {next(free): secret for secret in secrets if secret in source}


def without(text: str, hidden: Mapping[str, str]) -> str:
    """Return a text with each secret replaced by its placeholder."""
    if not hidden:
        return text
    by_secret = {secret: placeholder for placeholder, secret in hidden.items()}
    return re.sub("|".join(map(re.escape, by_secret)), lambda match: by_secret[match[0]], text)


def _named(source: str, redaction: Redaction) -> Iterator[str]:
    """Yield the texts that stand under the name of a secret: assigned, passed, as a default or in a dictionary."""
    try:
        module = parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what is live and no Python has only its texts
        return
    for node in ast.walk(module):
        for name, value in _pairs(node):
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and redaction.hides(name):
                yield value.value


def _pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((_name(target), value) for target in targets)
        case ast.AnnAssign(target=target, value=value):
            yield _name(target), value
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                yield str(key.value) if isinstance(key, ast.Constant) else "", value
        case ast.arguments(args=args, defaults=defaults, kwonlyargs=only, kw_defaults=its):
            yield from (
                (arg.arg, value) for arg, value in zip(args[len(args) - len(defaults) :], defaults, strict=False)
            )
            yield from ((arg.arg, value) for arg, value in zip(only, its, strict=True))


def _name(target: ast.expr) -> str:
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return target.id if isinstance(target, ast.Name) else ""
