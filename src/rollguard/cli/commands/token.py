"""`rollguard token`: who may use the service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.formatting import NOTHING, counted, moment
from rollguard.model.token import Scope

if TYPE_CHECKING:
    from rollguard.model.token import Token


class Action(StrEnum):
    """What to do with tokens."""

    create = "create"
    list = "list"
    revoke = "revoke"


def token(
    action: Annotated[Action, typer.Argument(help="Create a token, list them all, or revoke a holder's.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Who holds it; for create and revoke.", show_default=False)
    ] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option("--scope", help="What it allows; can be repeated.", show_default=False),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            metavar="NAME",
            help="A tool whose executions it may record; can be repeated. By default every tool.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option("--days", min=1, max=3_650, metavar="N", help="It ends after so many days.", show_default=False),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who; by default your login name.", show_default=False)
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create, list or revoke the tokens of the service.

    A token's secret is printed once, when it is created, and stored nowhere. What is decided with a token is recorded
    under its holder's name. A revoked one is refused after five seconds at most.
    """
    _check(action, name, scope, tool, days)
    now = datetime.now(UTC)
    with opened(config, adopt=False) as guard:
        tokens = guard.store.tokens
        if action is Action.create:
            ends = None if days is None else now + timedelta(days=days)
            made = tokens.create(
                name or "", scope or (), tools=tool or (), created_by=by or inputs.who(), now=now, expires_at=ends
            )
            _show_new(*made, as_json=as_json)
            return
        found = tokens.revoke(name or "", now) if action is Action.revoke else tokens.all()
    logins = [one for one in found if one.is_login and one.valid_at(now)]
    found = [one for one in found if not one.is_login]
    if as_json:
        output.emit_json([_as_json(one) for one in found])
    elif action is Action.revoke:
        output.lines(f"{name} has no valid token any more.")
    else:
        _list(found, now)
        if logins:
            output.note(f"{counted(len(logins), 'log-in')} to the pages, each ends with its holder's token")


def _show_new(made: Token, secret: str, *, as_json: bool) -> None:
    if as_json:
        output.emit_json({**_as_json(made), "token": secret})
    else:
        output.lines(secret)
        output.note(f"{made.name} may: {_allowed(made)}. This secret is not shown again.")


def _check(action: Action, name: str | None, scope: Any, tool: Any, days: Any) -> None:
    if action is Action.list and name is not None:
        raise typer.BadParameter("list takes no name")
    if action is not Action.list and name is None:
        raise typer.BadParameter(f"{action} needs the name of the holder")
    if action is Action.create and not scope:
        raise typer.BadParameter(f"say what it allows with --scope: {', '.join(Scope)}")
    if action is not Action.create and (scope or tool or days):
        raise typer.BadParameter("--scope, --tool and --days are for create")


def _list(found: list[Token], now: datetime) -> None:
    output.listing(
        ("Holder", "Allows", "Made", "By", "Ends", "State"),
        [
            (
                one.name,
                _allowed(one),
                moment(one.created_at, now),
                one.created_by,
                NOTHING if one.expires_at is None else moment(one.expires_at, now),
                "valid" if one.valid_at(now) else "expired" if one.revoked_at is None else "revoked",
            )
            for one in found
        ],
        nothing="There are no tokens. Without one, the service answers this machine alone.",
    )


def _allowed(one: Token) -> str:
    limited = f" (ingest only {', '.join(one.tools)})" if one.tools else ""
    return ", ".join(sorted(one.scopes)) + limited


def _as_json(one: Token) -> dict[str, Any]:
    return {**output.record(one), "scopes": sorted(one.scopes)}
