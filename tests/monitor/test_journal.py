"""The rollback's state machine: the picture in the docs is the one in the code, and no other transition happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollguard import ExecutionStore
from rollguard.store import rollback_states
from rollguard.store.schema import deployment_rollbacks as r
from tests.conftest import NOW

PAGE = Path(__file__).parents[2] / "docs" / "rollback.md"
STATES = ("claimed", "restored", "finished", "failed", "observed", "capped", "overtaken")


def test_the_picture_is_the_code() -> None:
    """docs/rollback.md draws exactly the transitions there are, with their names."""
    section = PAGE.read_text("utf-8").partition("## A rollback's life\n")[2].partition("\n## ")[0]
    drawn = re.findall(r"^    (\S+) --> (\S+?)(?:: (.*))?$", section, re.MULTILINE)
    inside = {(leaves, enters, name) for leaves, enters, name in drawn if "[*]" not in (leaves, enters)}
    assert inside == {(leaves, t.enters, t.name) for t in rollback_states.TRANSITIONS for leaves in t.leaves}
    assert {enters for leaves, enters, _ in drawn if leaves == "[*]"} == set(rollback_states.BEGINNINGS)
    assert {leaves for leaves, enters, _ in drawn if enters == "[*]"} == {"finished", "overtaken"}


@pytest.mark.parametrize("transition", rollback_states.TRANSITIONS, ids=lambda transition: transition.name)
def test_a_transition_leaves_its_states_only(store: ExecutionStore, transition: rollback_states.Transition) -> None:
    """From a state that it does not leave a transition changes nothing; from one that it leaves it happens."""
    for state in STATES:
        with store.database.write() as connection:
            number = connection.execute(
                sa.insert(r)
                .values(tool_name=f"t_{state}", reason="r", rollback_successful=False, rollback_time=NOW, state=state)
                .returning(r.c.rollback_id)
            ).scalar_one()
            moved = rollback_states.move(connection, transition, number, error="moved")
            now = connection.execute(sa.select(r.c.state, r.c.error).where(r.c.rollback_id == number)).one()
        if state in transition.leaves:
            assert moved is not None
            assert tuple(now) == (transition.enters, "moved")
        else:
            assert moved is None
            assert tuple(now) == (state, None)
