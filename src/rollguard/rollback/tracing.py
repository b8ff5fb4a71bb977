"""Make a span of each step of a rollback."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from rollguard.model.own_spans import span
from rollguard.model.rollback import Rollback
from rollguard.store import Intention

Runner = TypeVar("Runner")
About = TypeVar("About", Intention, Rollback)
Rest = ParamSpec("Rest")
Step = Callable[Concatenate[Runner, About, Rest], Rollback]


def traced(name: str) -> Callable[[Step[Runner, About, Rest]], Step[Runner, About, Rest]]:
    """Return a decorator that makes a span of a method, from what it is about to the state that it leaves."""

    def decorated(step: Step[Runner, About, Rest]) -> Step[Runner, About, Rest]:
        @wraps(step)
        def run(runner: Runner, about: About, /, *args: Rest.args, **options: Rest.kwargs) -> Rollback:
            with span(name, tool_name=about.tool_name, session_id=about.session_id) as note:
                done = step(runner, about, *args, **options)
                note(from_version=done.from_version, to_version=done.to_version)
                note(rollback_id=done.rollback_id, rollback_type=done.rollback_type, rollback_state=str(done.state))
                return done

        return run

    return decorated
