"""`rollguard proposals`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rollguard.cli import exits, inputs, output
from rollguard.cli.opening import opened
from rollguard.cli.options import Config, Json
from rollguard.model.attempt import NOT_GOOD, OPEN, Attempt, State
from rollguard.model.formatting import moment

if TYPE_CHECKING:
    from rollguard.app import Rollguard

ACTIONS = ("list", "show", "approve", "reject")
_ENDED_BADLY = {*map(str, NOT_GOOD), str(State.VOID), str(State.DROPPED)}
_UNDECIDED = {*map(str, (State.FOUND, State.INVESTIGATED, State.PROPOSED, State.WAITING))}


def proposals(
    action: Annotated[str, typer.Argument(metavar="[list|show|approve|reject]", help="What to do.")] = "list",
    number: Annotated[
        int | None, typer.Argument(metavar="[N]", help="The number of the attempt.", show_default=False)
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the history.", show_default=False)
    ] = "",
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="NAME", help="Who decides; by default your login name.", show_default=False),
    ] = None,
    patch: Annotated[bool, typer.Option("--patch", help="show: print only the change, as a unified diff.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="list: those that ended, too.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the repairs that the loop proposes, show one, and approve or reject it.

    The exit code of show and approve is 0 if the repair is approved, live or was healthy, 6 if it is refused, has
    expired or ended otherwise, and 7 while it is not decided.
    """
    if action not in ACTIONS:
        raise typer.BadParameter(f"{action!r} is not one of {', '.join(ACTIONS)}")
    if action != "list" and number is None:
        raise typer.BadParameter(f"give the number of the attempt: rollguard proposals {action} N")
    if action in ("approve", "reject") and not reason.strip():
        raise typer.BadParameter("say why with --reason; it is kept in the history")
    with opened(config, adopt=False) as guard:
        if number is None or action == "list":
            _list(guard, everything=everything, as_json=as_json)
            return
        now = datetime.now(UTC)
        if action == "approve":
            attempt = _approvals(guard).approve(number, by=by or inputs.who(), reason=reason, now=now)
        elif action == "reject":
            attempt = _approvals(guard).reject(number, by=by or inputs.who(), reason=reason, now=now)
        else:
            attempt = guard.store.attempts.get(number)
        if action == "show":
            _show(guard, attempt, now, patch=patch, as_json=as_json)
        elif as_json:
            output.emit_json(_as_dict(attempt, now))
        else:
            _say(attempt)
    code = _code(attempt, now)
    if code and action != "reject":
        raise typer.Exit(code)


def _approvals(guard: Rollguard) -> Any:
    from rollguard.loop.improvement.approvals import Approvals

    return Approvals(guard.store, guard.settings.loop)


def _code(attempt: Attempt, now: datetime) -> int:
    state = attempt.shown_state(now)
    if state in _ENDED_BADLY:
        return exits.REFUSED
    return exits.UNDECIDED if state in _UNDECIDED else exits.OK


def _say(attempt: Attempt) -> None:
    what = f"Attempt {attempt.attempt_id} of {attempt.tool_name}"
    if attempt.state is State.WAITING:
        output.lines(f"{what} has your approval, and waits for another one.")
    elif attempt.state is State.APPROVED:
        output.lines(f"{what} is approved; the loop deploys it in its next cycle.")
    else:
        output.lines(f"{what} is rejected.")


# --- list ------------------------------------------------------------------------------------------------------------


def _list(guard: Rollguard, *, everything: bool, as_json: bool) -> None:
    now = datetime.now(UTC)
    store = guard.store
    found = store.attempts.recent(states=None if everything else OPEN)
    records, frozen = store.attempts.track_records(), store.freezes.all()
    if as_json:
        output.emit_json(
            {
                "attempts": [_as_dict(one, now) for one in found],
                "improvers": [{**output.record(one), "success_rate": one.success_rate} for one in records],
                "frozen": [{"tool_name": name, "by": one.by, "reason": one.reason} for name, one in frozen.items()],
            }
        )
        return
    columns = ("N>", "Tool", "State", "Author", "Cause~", "Expires")
    rows = [
        (
            one.attempt_id,
            one.tool_name,
            _state(one, now),
            one.author or "",
            one.cause or "",
            moment(one.expires_at, now) if one.state is State.WAITING and one.expires_at else "",
        )
        for one in found
    ]
    output.listing(columns, rows, nothing="No proposal is open." if not everything else "There was no attempt yet.")
    for name, one in frozen.items():
        output.lines(f"{name or 'Every tool'} is frozen by {one.by}{f': {one.reason}' if one.reason else ''}.")
    if records:
        output.lines("")
        output.listing(
            ("Improver", "Proposals>", "Deployed>", "Healthy>", "Rolled back>", "Success>", "Tokens>"),
            [
                (
                    one.author,
                    one.proposals,
                    one.deployed,
                    one.succeeded,
                    one.rolled_back,
                    f"{one.success_rate or 0:.0%}",
                    f"{one.tokens:,}",
                )
                for one in records
            ],
            nothing="",
        )


def _state(attempt: Attempt, now: datetime) -> str:
    state = attempt.shown_state(now)
    why = "expired" if attempt.expired(now) else attempt.why
    return f"{state}: {str(why).replace('_', ' ')}" if why else state


# --- show ------------------------------------------------------------------------------------------------------------


def _as_dict(attempt: Attempt, now: datetime) -> dict[str, Any]:
    said = output.record(attempt, "candidate", "leased_by", "leased_until")
    return {**said, "state": attempt.shown_state(now), "author": attempt.author, "binding": attempt.binding}


def _show(guard: Rollguard, attempt: Attempt, now: datetime, *, patch: bool, as_json: bool) -> None:
    from rollguard.loop.improvement.approvals import patch_of

    events, change = guard.store.attempt_events.of(attempt.attempt_id), patch_of(guard.store, attempt)
    if as_json:
        output.emit_json({**_as_dict(attempt, now), "patch": change, "events": events})
        return
    if patch:
        output.diff(change)
        return
    output.lines(
        f"Attempt {attempt.attempt_id} to improve {attempt.tool_name}: {_state(attempt, now)}",
        f"Cause: {attempt.cause or 'not investigated yet'}",
    )
    proposal = attempt.proposal or {}
    if proposal:
        model = f" with {proposal['model']}" if proposal.get("model") else ""
        output.lines(
            f"Proposed by {attempt.author}{model}, try {attempt.tries}: {proposal.get('reason') or 'no reason given'}",
            f"Cost: {attempt.tokens:,} tokens, {attempt.cost:.4f} USD, {attempt.seconds:.1f} s",
        )
    rehearsal = attempt.evidence.get("rehearsal")
    if rehearsal:
        counts = ", ".join(f"{rehearsal[kind]} {kind}" for kind in ("fixed", "broken", "same", "changed"))
        output.lines(f"Rehearsed by {attempt.strategy}: {attempt.verdict}; {counts}")
        output.bullets(entry["text"] for entry in rehearsal["reasons"])
    if attempt.expires_at is not None and attempt.open:
        output.lines(f"It can be approved and deployed until {attempt.expires_at:%Y-%m-%d %H:%M} UTC")
    output.lines(f"Bound to: {attempt.binding}")
    output.show("", output.heading("History"))
    output.bullets(
        f"{one.at:%Y-%m-%d %H:%M:%S} {one.event.replace('_', ' ')} by {one.by}{f': {one.reason}' if one.reason else ''}"
        for one in events
    )
    if change:
        output.show("", output.heading("Change"))
        output.diff(change)
