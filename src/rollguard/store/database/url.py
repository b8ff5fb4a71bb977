"""The URL of a database: read it, show it, and keep what is secret in it out of errors and logs."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Iterator
from typing import TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from rollguard.errors import InvalidInput, InvalidSetting, unchained

_Error = TypeVar("_Error", bound=BaseException)

_HELP = "use sqlite:///rollguard.db or postgresql://user:password@host/database"
_SHOWN = {  # keys of a query that say where a database is, or how it is opened; all others may be secrets
    "postgresql": ("host", "port"),
    "sqlite": ("cache", "immutable", "mode", "nolock", "uri"),
}
_LONGEST_SCHEMA = 63  # PostgreSQL cuts longer names off
_LOGGERS = ("psycopg", "sqlalchemy.pool.impl.QueuePool", "sqlalchemy.pool.impl.StaticPool")


def parse_url(url: str) -> URL:
    """Return the parsed URL.

    Raises:
        InvalidInput: it cannot be understood, or names a kind of database that is not supported. The text and the chain
            of the error hold no part of the URL but that kind.
    """
    parsed = _parsed(url)
    if parsed is None:
        unchained(InvalidInput(f"database: what is given is not a database URL, and may hold a password; {_HELP}"))
    backend = {"postgres": "postgresql"}.get(parsed.drivername, parsed.drivername.partition("+")[0])
    if backend not in _SHOWN or "+" in parsed.drivername.removesuffix("+psycopg"):
        raise InvalidInput(f"database: {parsed.drivername!r} is not a supported database; {_HELP}")
    if backend == "sqlite" and (parsed.host or parsed.username):
        raise InvalidInput(f"database: a SQLite file needs three slashes; {_HELP}")
    return parsed.set(drivername=backend)


def _parsed(url: object) -> URL | None:
    try:
        parsed = make_url(url) if isinstance(url, str) and url.encode() else None
        if parsed is not None:
            parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError):
        return None
    return parsed


def session_options(url: URL, schema: str | None) -> str:
    """Return the `options` of every PostgreSQL connection: those in the URL, the schema, and what Rollguard needs."""
    own = url.normalized_query.get("options", ())
    # Compiling one of our statements takes longer than running it.
    parts = [*own, *([f"-c search_path={_escaped(quoted(schema))}"] if schema else []), "-c timezone=UTC -c jit=off"]
    return " ".join(parts)


def quoted(name: str) -> str:
    """Return a name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


def checked_schema(schema: object, url: URL) -> str | None:
    """Return the name of a PostgreSQL schema; None is the connection's own search path.

    Raises:
        InvalidSetting: it is no name, or the database is SQLite.
    """
    if schema is None:
        return None
    if not isinstance(schema, str) or not schema.isprintable() or not 0 < len(schema.encode()) <= _LONGEST_SCHEMA:
        raise InvalidSetting("schema", f"{schema!r} is not the name of a schema: 1 to {_LONGEST_SCHEMA} bytes of text")
    if url.get_backend_name() == "sqlite":
        raise InvalidSetting("schema", "SQLite has no schemas; leave it out, and give each store a file of its own")
    return schema


def shown(url: URL) -> str:
    """Return the URL without user, password and the query's secrets.

    If a password holds an unescaped @, it is unknown where it ends, so only the kind of the database is shown.
    """
    backend = url.get_backend_name()
    if _unclear(url):
        return f"{backend}://…"
    query = {key: value for key, value in url.query.items() if key in _SHOWN[backend]}
    safe = URL.create(backend, host=url.host, port=url.port, database=url.database, query=query)
    return safe.render_as_string(hide_password=True)


def _unclear(url: URL) -> bool:
    return url.get_backend_name() != "sqlite" and any("@" in part for part in (url.host, url.database) if part)


class Secrets:
    """The secret parts of a URL. This object removes them from errors; the drivers' loggers do not show them either."""

    def __init__(self, url: URL) -> None:
        found = sorted(set(_secret_parts(url)), key=len, reverse=True)
        self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(part)}(?!\w)" for part in found)) if found else None
        _known.add(self)

    def without(self, text: str) -> str:
        """Return the text with `***` for each secret."""
        return text if self._pattern is None else self._pattern.sub("***", text)

    def clean(self, error: _Error) -> _Error:
        """Remove the secrets from an error of a driver, and from those that caused it, and return it."""
        for each in _chain(error):
            each.args = tuple(self.without(arg) if isinstance(arg, str) else arg for arg in each.args)
            if "_pgconn" in vars(each):  # psycopg's errors hold what was given to connect, the password too
                vars(each)["_pgconn"] = None
        return error


def _secret_parts(url: URL) -> Iterator[str]:
    parts = [url.username, None if url.password is None else str(url.password)]
    parts += [url.host, url.database] if _unclear(url) else []
    for part in parts:
        if part:
            yield part
    for key, values in url.normalized_query.items():
        if key not in _SHOWN[url.get_backend_name()]:
            yield from filter(None, values)


def _chain(error: BaseException) -> Iterator[BaseException]:
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            todo += [each.__cause__, each.__context__, getattr(each, "orig", None)]


_known: weakref.WeakSet[Secrets] = weakref.WeakSet()


def _clean_record(record: logging.LogRecord) -> bool:
    """Remove the secrets of every open database from a driver's log record."""
    text = clean = record.getMessage()
    for secrets in list(_known):
        clean = secrets.without(clean)
    if clean != text:
        record.msg, record.args = clean, ()
    return True


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_clean_record)
