"""`rollguard schema`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from rollguard.cli import output
from rollguard.cli.options import Config, Json


class Dialect(StrEnum):
    """The kinds of databases."""

    sqlite = "sqlite"
    postgresql = "postgresql"


def schema(
    dialect: Annotated[Dialect, typer.Option("--dialect", help="The kind of database.")] = Dialect.postgresql,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="REVISION", help="Only what changes a database of this revision.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--schema",
            metavar="NAME",
            help="The PostgreSQL schema to make it in, else the session's.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,  # noqa: ARG001 - every command takes it; this one needs no settings
    as_json: Json = False,
) -> None:
    """Print the database's schema as plain SQL, for administrators who migrate. It opens no database."""
    from rollguard.store.schema.migrate import head
    from rollguard.store.schema.plain_sql import plain_sql

    sql = plain_sql(dialect.value, since=since, schema=name)
    if as_json:
        output.emit_json({"dialect": dialect.value, "revision": head(), "from": since, "sql": sql})
    else:
        typer.echo(sql, nl=False)
